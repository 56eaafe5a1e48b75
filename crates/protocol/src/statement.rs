//! The runtime statement: what an enclave says about itself, bound into the evidence.
//!
//! One canonical JSON document (RFC 8785) and one formula for every platform (spec/channel.md, CH-1):
//!
//! ```text
//! report_data = SHA-512("casemate/runtime-statement/v1" || 0x00 || document)
//! ```
//!
//! A client that holds [`Verified`] evidence and a statement that passes [`check`] knows which hardware, which code,
//! which weights and which keys, and until when: that knowledge is the type [`AttestedStatement`].

use casemate_attest::{Check, Outcome, Platform, Rule, UnixTime, Verified};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

use crate::rows::{row, with_rest};

mod engine;

pub use engine::{EngineRule, EngineStatement, Separation, UPSTREAM_DOMAIN, UpstreamStatement};

/// The domain separator of the report data.
pub const DOMAIN: &[u8] = b"casemate/runtime-statement/v1";
/// The only format that we read and write.
pub const FORMAT: u32 = 1;
/// A longer statement is refused before it is parsed: ours are under 2 KiB, and evidence may not cost memory.
pub const MAX_LEN: usize = 64 * 1024;

/// What the enclave says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeStatement {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The client's nonce, or `none` where nobody asked for a fresh statement.
    pub nonce: Stated,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo (DER).
    pub tls_spki_sha256: Stated,
    /// Where the TLS key was made.
    pub tls_key_origin: KeyOrigin,
    /// SHA-256 of the Oblivious HTTP key configuration, `none` where the server offers none.
    pub ohttp_config_sha256: Stated,
    /// SHA-256 of the receipt-signing key's SubjectPublicKeyInfo, `none` where the server signs no receipts.
    pub receipt_key_sha256: Stated,
    /// Every loaded model.
    pub models: Vec<ModelStatement>,
    /// What answers prompts.
    pub engine: EngineStatement,
    /// SHA-256 of the evidence of further devices (GPUs), `none` without any.
    pub device_evidence_sha256: Stated,
    /// SHA-256 of the public area of the attestation key of the virtual TPM beside the hardware, `none` without one.
    pub vtpm_key_sha256: Stated,
    /// SHA-256 of the release policy under which the broker released the key, `none` where it is not known.
    pub release_policy_sha256: Stated,
    /// The server's software and version, such as `casemate 0.1.0`.
    pub software: String,
    /// Seconds since 1970 after which nobody may rely on this statement.
    pub not_after: u64,
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelStatement {
    /// The name under which the API serves it.
    pub id: String,
    /// SHA-256 of the sealed model's signed manifest.
    pub manifest_sha256: Stated,
}

/// 32 bytes in lower-case hex, or the written word `none`. There is no third case and no missing member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// The enclave says that there is nothing of this kind.
    None,
    /// The digest or nonce.
    Is([u8; 32]),
}

/// Where a private key was made, and so who may hold a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrigin {
    /// Inside the enclave, at start; it never leaves.
    Enclave,
    /// The operator brought it, so the operator can read what is encrypted to it.
    Operator,
}

/// Which TLS keys a relying party accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsKeyRule {
    /// Only a key made inside the enclave.
    MadeInside,
    /// Also a key that the operator holds: somebody wrote down why.
    DangerOperatorHeld {
        /// The written reason.
        reason: String,
    },
}

/// What the relying party expects a statement to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The nonce that was sent with the request for this statement.
    pub nonce: [u8; 32],
    /// What requests will be encrypted to.
    pub channel: Channel,
    /// Which models may be loaded.
    pub models: ModelRule,
    /// Which engines may answer.
    pub engine: EngineRule,
}

/// The key that a relying party encrypts its requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// The TLS key of the connection over which the statement came.
    Tls {
        /// SHA-256 of the key's SubjectPublicKeyInfo.
        spki_sha256: [u8; 32],
        /// Who may hold it.
        rule: TlsKeyRule,
    },
    /// One of these keys of the sealed channel, whoever the connection ends at.
    Sealed {
        /// SHA-256 of the key configurations as they arrived.
        configurations_sha256: [u8; 32],
    },
}

/// Which models a relying party accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRule {
    /// Every loaded model's manifest digest is in this list. An empty list accepts nothing.
    OneOf(Vec<[u8; 32]>),
    /// Any model: somebody wrote down why.
    Any {
        /// The written reason.
        reason: String,
    },
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Longer than [`MAX_LEN`].
    #[error("the runtime statement has {len} bytes, more than {MAX_LEN}")]
    TooLong {
        /// Length found.
        len: usize,
    },
    /// Not the JSON document that the specification describes.
    #[error("the runtime statement is not a statement of format {FORMAT} (line {line}, column {column})")]
    Malformed {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// Valid JSON in another spelling than RFC 8785 gives it.
    #[error("the runtime statement is not in canonical form")]
    NotCanonical,
    /// Another format.
    #[error("the runtime statement has format {found}, not {FORMAT}")]
    Format {
        /// Format found.
        found: u32,
    },
    /// The evidence binds other bytes.
    #[error("the evidence does not bind this runtime statement")]
    NotBound,
    /// The statement answers another challenge, or none.
    #[error("the runtime statement does not answer our nonce")]
    Nonce,
    /// The statement's time is over.
    #[error("the runtime statement expired at {not_after}, it is {now}")]
    Expired {
        /// Expiry, seconds since 1970.
        not_after: u64,
        /// The time of the check.
        now: u64,
    },
    /// The TLS connection ends at another key.
    #[error("the TLS connection's key is {connection}, the evidence binds {attested}")]
    TlsKey {
        /// Digest of the connection's key.
        connection: String,
        /// Digest in the statement.
        attested: String,
    },
    /// The key configurations of the sealed channel are others than the evidence binds.
    #[error("the sealed channel's keys are {shown}, the evidence binds {attested}")]
    SealedKeys {
        /// Digest of what was shown.
        shown: String,
        /// Digest in the statement.
        attested: String,
    },
    /// The operator holds the TLS key, and the policy does not say that this is acceptable.
    #[error("the operator holds the TLS key and can read what is sent; the policy does not accept that")]
    OperatorHoldsTlsKey,
    /// A loaded model is not one that the policy names.
    #[error("model `{id}` has manifest {manifest}, which the policy does not name")]
    Model {
        /// The model's name.
        id: String,
        /// Its manifest digest.
        manifest: String,
    },
    /// No model is loaded.
    #[error("the server states no model")]
    NoModel,
    /// A program beside the software answers, and the policy does not name it.
    #[error("an upstream engine answers prompts ({digest}), which the policy does not name")]
    Engine {
        /// Its digest.
        digest: String,
    },
}

impl StatementError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "statement.too-long",
            Self::Malformed { .. } => "statement.malformed",
            Self::NotCanonical => "statement.not-canonical",
            Self::Format { .. } => "statement.format",
            Self::NotBound => "statement.not-bound",
            Self::Nonce => "statement.nonce",
            Self::Expired { .. } => "statement.expired",
            Self::TlsKey { .. } => "statement.tls-key",
            Self::SealedKeys { .. } => "statement.sealed-keys",
            Self::OperatorHoldsTlsKey => "statement.tls-key-origin",
            Self::Model { .. } => "statement.model",
            Self::NoModel => "statement.no-model",
            Self::Engine { .. } => "statement.engine",
        }
    }
}

/// A refused statement with the checks that ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StatementRefused {
    /// Why.
    pub reason: StatementError,
    /// Every rule of this module in order; those after the failure are not reached.
    pub checks: Vec<Check>,
}

/// A statement that verified evidence binds, that answers our nonce on our connection, and whose models are ours.
/// Only [`check`] makes one.
#[derive(Debug)]
pub struct AttestedStatement {
    statement: RuntimeStatement,
    simulated: bool,
    checks: Vec<Check>,
    valid_until: UnixTime,
}

/// The rules of spec/channel.md that [`check`] applies, in order.
pub static RULES: [Rule; 7] = [
    Rule {
        id: "CH-1",
        title: "evidence binds the runtime statement",
        spec: "channel.md §2 CH-1",
        why: "Genuine evidence beside a statement that it does not bind says nothing about the keys in the statement.",
    },
    Rule {
        id: "CH-2",
        title: "statement is canonical and of a known format",
        spec: "channel.md §2 CH-2",
        why: "One content has one spelling, so that two programs cannot read the same statement differently.",
    },
    Rule {
        id: "CH-3",
        title: "statement answers our nonce",
        spec: "channel.md §2 CH-3",
        why: "An old statement may be of a machine that was since taken over or whose key has leaked.",
    },
    Rule {
        id: "CH-4",
        title: "statement has not expired",
        spec: "channel.md §2 CH-4",
        why: "Every belief has an end; after it, ask again.",
    },
    Rule {
        id: "CH-5",
        title: "key of this channel is the attested one, made inside",
        spec: "channel.md §2 CH-5",
        why: "Otherwise a machine in the middle could forward a genuine enclave's evidence and read the prompt itself; \
              so could an operator who brought the key.",
    },
    Rule {
        id: "CH-6",
        title: "loaded model is one of ours",
        spec: "channel.md §2 CH-6",
        why: "The right machine with other weights gives other answers.",
    },
    Rule {
        id: "CH-22",
        title: "engine is part of the software, or an upstream of ours",
        spec: "channel.md §2 CH-22",
        why: "Whatever answers prompts sees them; a program beside the software is not confined as its own engine is, and the \
              measurement may not cover it.",
    },
];

// === impl RuntimeStatement ===

impl RuntimeStatement {
    /// The canonical document: the bytes that are hashed, sent and checked.
    pub fn to_canonical(&self) -> Result<String, StatementError> {
        serde_json_canonicalizer::to_string(self).map_err(|_| StatementError::NotCanonical)
    }

    /// Reads a document. Refuses other spellings of the same content (CH-2).
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        if text.len() > MAX_LEN {
            return Err(StatementError::TooLong { len: text.len() });
        }
        let parsed: Self = serde_json::from_str(text)
            .map_err(|e| StatementError::Malformed { line: e.line(), column: e.column() })?;
        if parsed.format != FORMAT {
            return Err(StatementError::Format { found: parsed.format });
        }
        if parsed.to_canonical()? != text {
            return Err(StatementError::NotCanonical);
        }
        Ok(parsed)
    }
}

/// The 64 bytes that bind `document` into evidence (CH-1).
pub fn report_data(document: &str) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update(DOMAIN);
    hash.update([0]);
    hash.update(document.as_bytes());
    hash.finalize().into()
}

/// What evidence of a platform holds where it binds these 64 bytes of report data (CH-1): the bytes themselves, or on a
/// virtual TPM their SHA-256.
///
/// The qualifying data of a TPM's quote is a TPM2B_DATA, which is as large as the longest digest that the TPM knows with
/// its algorithm (TPM 2.0 Part 2, 10.4.3): 64 bytes fit few TPMs, 32 fit all that have a SHA-256 bank.
pub fn bound(platform: Platform, report_data: &[u8; 64]) -> Vec<u8> {
    match platform {
        Platform::AzureVtpm | Platform::AzureVtpmTdx | Platform::GceVtpm => {
            Sha256::digest(report_data).to_vec()
        }
        // `Platform` may grow: whatever is new binds all 64 bytes, or nobody accepts it.
        _ => report_data.to_vec(),
    }
}

/// Checks that `verified` evidence binds `document` and that the document says what `expected` demands at `now`.
pub fn check(
    verified: &Verified,
    document: &str,
    expected: &Expectation,
    now: UnixTime,
) -> Result<AttestedStatement, StatementRefused> {
    let mut seen = Transcript::default();
    match run(bound_by(verified), document, expected, now, &mut seen) {
        Ok(statement) => {
            let valid_until = verified.valid_until().min(UnixTime(statement.not_after));
            Ok(AttestedStatement { statement, simulated: verified.simulated(), checks: seen.0, valid_until })
        }
        Err(reason) => Err(StatementRefused { checks: seen.failed(&reason), reason }),
    }
}

/// As [`check`] for a document that was kept: what can be checked without a nonce and a connection of one's own. CH-3 and
/// CH-5 are listed as waived, because the caller chose to check a file. This says what a machine was, and not whom
/// anybody talks to, so it yields no [`AttestedStatement`].
pub fn check_offline(
    verified: &Verified,
    document: &str,
    models: &ModelRule,
    engine: &EngineRule,
    now: UnixTime,
) -> Result<(RuntimeStatement, Vec<Check>), StatementRefused> {
    let mut seen = Transcript::default();
    match run_offline(bound_by(verified), document, models, engine, now, &mut seen) {
        Ok(statement) => Ok((statement, seen.0)),
        Err(reason) => Err(StatementRefused { checks: seen.failed(&reason), reason }),
    }
}

/// The rows of [`RULES`] as not reached, for a report that ended before the statement was looked at.
pub fn not_reached() -> Vec<Check> {
    with_rest(Vec::new(), &RULES)
}

// === impl AttestedStatement ===

impl AttestedStatement {
    /// What the enclave stated.
    pub fn statement(&self) -> &RuntimeStatement {
        &self.statement
    }

    /// The checks that passed or were waived.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the evidence that binds it is a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// The earliest expiry of statement, certificates and revocation list.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

// === impl Stated ===

impl Stated {
    /// The text of the wire form: hex or `none`.
    pub fn text(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Is(bytes) => hex::encode(bytes),
        }
    }
}

impl Serialize for Stated {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Stated {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self::None);
        }
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("expected 64 hex digits or `none`"))?;
        Ok(Self::Is(bytes))
    }
}

// === the check's steps ===

#[derive(Default)]
struct Transcript(Vec<Check>);

impl Transcript {
    fn pass(&mut self, compared: impl Into<String>) {
        self.push(Outcome::Pass, compared.into());
    }

    fn push(&mut self, outcome: Outcome, compared: String) {
        if let Some(rule) = RULES.get(self.0.len()) {
            self.0.push(row(rule, outcome, compared));
        }
    }

    fn failed(mut self, reason: &StatementError) -> Vec<Check> {
        self.push(Outcome::Fail, reason.to_string());
        with_rest(self.0, &RULES)
    }
}

/// What evidence binds, and of which platform it is.
#[derive(Clone, Copy)]
struct Bound<'a>(Platform, &'a [u8]);

fn bound_by(verified: &Verified) -> Bound<'_> {
    Bound(verified.claims().platform(), verified.report_data())
}

fn run(
    bound: Bound<'_>,
    document: &str,
    expected: &Expectation,
    now: UnixTime,
    seen: &mut Transcript,
) -> Result<RuntimeStatement, StatementError> {
    let statement = bound_statement(bound, document, seen)?;
    // CH-3
    if statement.nonce != Stated::Is(expected.nonce) {
        return Err(StatementError::Nonce);
    }
    seen.pass(hex::encode(expected.nonce));
    in_time(&statement, now, seen)?;
    connection(&statement, expected, seen)?;
    models(&statement, &expected.models, seen)?;
    answering(&statement, &expected.engine, seen)?;
    Ok(statement)
}

fn run_offline(
    bound: Bound<'_>,
    document: &str,
    rule: &ModelRule,
    engine: &EngineRule,
    now: UnixTime,
    seen: &mut Transcript,
) -> Result<RuntimeStatement, StatementError> {
    let statement = bound_statement(bound, document, seen)?;
    seen.push(Outcome::Waived, "offline: nobody here sent a nonce".into());
    in_time(&statement, now, seen)?;
    seen.push(Outcome::Waived, "offline: there is no connection".into());
    models(&statement, rule, seen)?;
    answering(&statement, engine, seen)?;
    Ok(statement)
}

/// CH-1 and CH-2.
fn bound_statement(
    Bound(platform, found): Bound<'_>,
    document: &str,
    seen: &mut Transcript,
) -> Result<RuntimeStatement, StatementError> {
    // Even where the appraisal waived the report data, this comparison is made.
    if document.len() > MAX_LEN {
        return Err(StatementError::TooLong { len: document.len() });
    }
    let expected = bound(platform, &report_data(document));
    if expected.as_slice() != found {
        return Err(StatementError::NotBound);
    }
    seen.pass(format!("{} bytes, of a document of {}", expected.len(), document.len()));
    let statement = RuntimeStatement::parse(document)?;
    seen.pass(format!("format {FORMAT}, {}", statement.software));
    Ok(statement)
}

/// CH-4.
fn in_time(statement: &RuntimeStatement, now: UnixTime, seen: &mut Transcript) -> Result<(), StatementError> {
    if now.0 >= statement.not_after {
        return Err(StatementError::Expired { not_after: statement.not_after, now: now.0 });
    }
    seen.pass(format!("until {}", statement.not_after));
    Ok(())
}

/// CH-5.
fn connection(
    statement: &RuntimeStatement,
    expected: &Expectation,
    seen: &mut Transcript,
) -> Result<(), StatementError> {
    let (spki, rule) = match &expected.channel {
        Channel::Tls { spki_sha256, rule } => (*spki_sha256, rule),
        Channel::Sealed { configurations_sha256: shown } => {
            if statement.ohttp_config_sha256 != Stated::Is(*shown) {
                let (shown, attested) = (hex::encode(shown), statement.ohttp_config_sha256.text());
                return Err(StatementError::SealedKeys { shown, attested });
            }
            seen.pass(format!("sealed to {}", hex::encode(shown)));
            return Ok(());
        }
    };
    let shown = hex::encode(spki);
    if statement.tls_spki_sha256 != Stated::Is(spki) {
        let attested = statement.tls_spki_sha256.text();
        return Err(StatementError::TlsKey { connection: shown, attested });
    }
    match (statement.tls_key_origin, rule) {
        (KeyOrigin::Enclave, _) => seen.pass(shown),
        (KeyOrigin::Operator, TlsKeyRule::MadeInside) => return Err(StatementError::OperatorHoldsTlsKey),
        (KeyOrigin::Operator, TlsKeyRule::DangerOperatorHeld { reason }) => {
            seen.push(Outcome::Waived, format!("{shown}, held by the operator: {reason}"));
        }
    }
    Ok(())
}

/// CH-6.
fn models(
    statement: &RuntimeStatement,
    rule: &ModelRule,
    seen: &mut Transcript,
) -> Result<(), StatementError> {
    if statement.models.is_empty() {
        return Err(StatementError::NoModel);
    }
    match rule {
        ModelRule::Any { reason } => seen.push(Outcome::Waived, reason.clone()),
        ModelRule::OneOf(named) => {
            for model in &statement.models {
                if !named.iter().any(|digest| model.manifest_sha256 == Stated::Is(*digest)) {
                    return Err(StatementError::Model {
                        id: model.id.clone(),
                        manifest: model.manifest_sha256.text(),
                    });
                }
            }
            let shown: Vec<_> = statement.models.iter().map(|m| m.manifest_sha256.text()).collect();
            seen.pass(shown.join(", "));
        }
    }
    Ok(())
}

/// CH-22.
fn answering(
    statement: &RuntimeStatement,
    rule: &EngineRule,
    seen: &mut Transcript,
) -> Result<(), StatementError> {
    match engine::accept(&statement.engine, rule)? {
        engine::Accepted::Pass(compared) => seen.pass(compared),
        engine::Accepted::Waived(compared) => seen.push(Outcome::Waived, compared),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
