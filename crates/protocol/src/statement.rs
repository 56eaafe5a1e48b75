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
pub static RULES: [Rule; 6] = [
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
    now: UnixTime,
) -> Result<(RuntimeStatement, Vec<Check>), StatementRefused> {
    let mut seen = Transcript::default();
    match run_offline(bound_by(verified), document, models, now, &mut seen) {
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
    Ok(statement)
}

fn run_offline(
    bound: Bound<'_>,
    document: &str,
    rule: &ModelRule,
    now: UnixTime,
    seen: &mut Transcript,
) -> Result<RuntimeStatement, StatementError> {
    let statement = bound_statement(bound, document, seen)?;
    seen.push(Outcome::Waived, "offline: nobody here sent a nonce".into());
    in_time(&statement, now, seen)?;
    seen.push(Outcome::Waived, "offline: there is no connection".into());
    models(&statement, rule, seen)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snp(bound: &[u8]) -> Bound<'_> {
        Bound(Platform::SevSnp, bound)
    }

    /// CH-1 of every platform: what one platform binds is nothing on another whose form differs.
    #[test]
    fn a_virtual_tpm_binds_the_hash_of_the_report_data() {
        let document = statement().to_canonical().unwrap();
        let data = report_data(&document);
        let hashed = bound(Platform::AzureVtpm, &data);
        assert_eq!(hashed, Sha256::digest(data).to_vec());
        let vtpms = [Platform::AzureVtpm, Platform::AzureVtpmTdx, Platform::GceVtpm];
        for platform in [Platform::SevSnp, Platform::Tdx, Platform::Nitro].into_iter().chain(vtpms) {
            let (whole, short) =
                if vtpms.contains(&platform) { (&hashed[..], &data[..]) } else { (&data[..], &hashed[..]) };
            assert_eq!(bound(platform, &data), whole, "{platform}");
            let code = |found: &[u8]| {
                let ran = run(
                    Bound(platform, found),
                    &document,
                    &expected(),
                    UnixTime(1),
                    &mut Transcript::default(),
                );
                ran.err().map_or("none", |e| e.code())
            };
            assert_eq!(code(whole), "none", "{platform}");
            for wrong in [short, &whole[..whole.len() - 1], &[whole, &[0]].concat(), &[]] {
                assert_eq!(code(wrong), "statement.not-bound", "{platform}");
            }
        }
    }

    fn statement() -> RuntimeStatement {
        RuntimeStatement {
            format: FORMAT,
            nonce: Stated::Is([1; 32]),
            tls_spki_sha256: Stated::Is([2; 32]),
            tls_key_origin: KeyOrigin::Enclave,
            ohttp_config_sha256: Stated::None,
            receipt_key_sha256: Stated::None,
            models: vec![ModelStatement { id: "m".into(), manifest_sha256: Stated::Is([3; 32]) }],
            device_evidence_sha256: Stated::None,
            vtpm_key_sha256: Stated::None,
            release_policy_sha256: Stated::None,
            software: "casemate 0.1.0".into(),
            not_after: 1000,
        }
    }

    fn tls(spki_sha256: [u8; 32], rule: TlsKeyRule) -> Channel {
        Channel::Tls { spki_sha256, rule }
    }

    fn expected() -> Expectation {
        Expectation {
            nonce: [1; 32],
            channel: tls([2; 32], TlsKeyRule::MadeInside),
            models: ModelRule::OneOf(vec![[9; 32], [3; 32]]),
        }
    }

    fn outcome(
        statement: &RuntimeStatement,
        expected: &Expectation,
        now: u64,
    ) -> Result<(), (StatementError, String)> {
        let document = statement.to_canonical().unwrap();
        let mut seen = Transcript::default();
        match run(snp(&report_data(&document)), &document, expected, UnixTime(now), &mut seen) {
            Ok(_) => {
                assert_eq!(seen.0.len(), RULES.len());
                Ok(())
            }
            Err(reason) => {
                let checks = seen.failed(&reason);
                assert_eq!(checks.len(), RULES.len());
                let failed: Vec<_> = checks.iter().filter(|c| c.outcome == Outcome::Fail).collect();
                assert_eq!(failed.len(), 1);
                Err((reason, failed[0].rule.id.to_string()))
            }
        }
    }

    fn sealed(configurations_sha256: [u8; 32]) -> Channel {
        Channel::Sealed { configurations_sha256 }
    }

    #[test]
    fn a_good_statement_passes() {
        assert_eq!(outcome(&statement(), &expected(), 999), Ok(()));
        // Over the sealed channel the TLS key is nobody's business.
        let statement = RuntimeStatement {
            ohttp_config_sha256: Stated::Is([7; 32]),
            tls_key_origin: KeyOrigin::Operator,
            ..statement()
        };
        assert_eq!(outcome(&statement, &Expectation { channel: sealed([7; 32]), ..expected() }, 999), Ok(()));
    }

    #[test]
    fn one_mistake_each_is_refused_by_its_rule() {
        type Edit = fn(&mut RuntimeStatement, &mut Expectation, &mut u64);
        let cases: [(Edit, &str, &str); 11] = [
            (|s, _, _| s.tls_key_origin = KeyOrigin::Operator, "CH-5", "statement.tls-key-origin"),
            (|s, _, _| s.nonce = Stated::None, "CH-3", "statement.nonce"),
            (|_, e, _| e.nonce = [7; 32], "CH-3", "statement.nonce"),
            (|_, _, now| *now = 1000, "CH-4", "statement.expired"),
            (|s, _, _| s.tls_spki_sha256 = Stated::None, "CH-5", "statement.tls-key"),
            (|_, e, _| e.channel = tls([7; 32], TlsKeyRule::MadeInside), "CH-5", "statement.tls-key"),
            (|_, e, _| e.channel = sealed([7; 32]), "CH-5", "statement.sealed-keys"),
            (
                |s, e, _| (s.ohttp_config_sha256, e.channel) = (Stated::Is([8; 32]), sealed([7; 32])),
                "CH-5",
                "statement.sealed-keys",
            ),
            (|s, _, _| s.models.clear(), "CH-6", "statement.no-model"),
            (|_, e, _| e.models = ModelRule::OneOf(vec![]), "CH-6", "statement.model"),
            (|s, _, _| s.format = 2, "CH-2", "statement.format"),
        ];
        for (edit, rule, code) in cases {
            let (mut s, mut e, mut now) = (statement(), expected(), 999);
            edit(&mut s, &mut e, &mut now);
            let (reason, failed) = outcome(&s, &e, now).unwrap_err();
            assert_eq!((failed.as_str(), reason.code()), (rule, code));
        }
    }

    #[test]
    fn every_loaded_model_must_be_named() {
        let mut s = statement();
        s.models.push(ModelStatement { id: "extra".into(), manifest_sha256: Stated::Is([4; 32]) });
        assert_eq!(outcome(&s, &expected(), 999).unwrap_err().0.code(), "statement.model");
        s.models.pop();
        s.models[0].manifest_sha256 = Stated::None;
        assert_eq!(outcome(&s, &expected(), 999).unwrap_err().0.code(), "statement.model");
    }

    #[test]
    fn a_waived_model_rule_shows_as_waived() {
        let document = statement().to_canonical().unwrap();
        let anything = Expectation { models: ModelRule::Any { reason: "demo".into() }, ..expected() };
        let mut seen = Transcript::default();
        run(snp(&report_data(&document)), &document, &anything, UnixTime(1), &mut seen).unwrap();
        assert_eq!(seen.0.last().map(|c| c.outcome), Some(Outcome::Waived));
    }

    #[test]
    fn an_operators_key_shows_as_waived_where_the_policy_accepts_it() {
        let statement = RuntimeStatement { tls_key_origin: KeyOrigin::Operator, ..statement() };
        let document = statement.to_canonical().unwrap();
        let rule = TlsKeyRule::DangerOperatorHeld { reason: "our own machine".into() };
        let expected = Expectation { channel: tls([2; 32], rule), ..expected() };
        let mut seen = Transcript::default();
        run(snp(&report_data(&document)), &document, &expected, UnixTime(1), &mut seen).unwrap();
        let waived: Vec<_> =
            seen.0.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
        assert_eq!(waived, ["CH-5"]);
    }

    #[test]
    fn a_kept_document_is_checked_for_all_that_needs_no_connection() {
        let document = statement().to_canonical().unwrap();
        let bound = report_data(&document);
        let offline = |bound: &[u8], document: &str, models: &ModelRule, now| {
            let mut seen = Transcript::default();
            run_offline(snp(bound), document, models, UnixTime(now), &mut seen)
                .map(|_| seen.0)
                .map_err(|e| e.code())
        };
        let ours = expected().models;
        let checks = offline(&bound, &document, &ours, 1).unwrap();
        let waived: Vec<_> =
            checks.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
        assert_eq!(waived, ["CH-3", "CH-5"]);
        assert_eq!(checks.len(), RULES.len());
        assert_eq!(offline(&[0; 64], &document, &ours, 1), Err("statement.not-bound"));
        assert_eq!(offline(&bound, &document, &ours, 1000), Err("statement.expired"));
        assert_eq!(offline(&bound, &document, &ModelRule::OneOf(vec![]), 1), Err("statement.model"));
        let nonsense = "not a statement";
        assert_eq!(offline(&report_data(nonsense), nonsense, &ours, 1), Err("statement.malformed"));
    }

    #[test]
    fn other_spellings_and_unknown_members_are_refused() {
        let good = statement().to_canonical().unwrap();
        assert_eq!(RuntimeStatement::parse(&good).unwrap(), statement());
        let spaced = good.replacen(':', ": ", 1);
        assert_eq!(RuntimeStatement::parse(&spaced).unwrap_err(), StatementError::NotCanonical);
        let upper = good.replacen("0101", "010A", 1);
        assert!(RuntimeStatement::parse(&upper).is_err());
        let extra = good.replacen('{', r#"{"aaa":1,"#, 1);
        assert_eq!(RuntimeStatement::parse(&extra).unwrap_err().code(), "statement.malformed");
        let twice = good.replacen('{', r#"{"format":1,"#, 1);
        assert_eq!(RuntimeStatement::parse(&twice).unwrap_err().code(), "statement.malformed");
        let without = good.replacen(r#""receipt_key_sha256":"none","#, "", 1);
        assert_eq!(RuntimeStatement::parse(&without).unwrap_err().code(), "statement.malformed");
        assert_eq!(
            RuntimeStatement::parse(&" ".repeat(MAX_LEN + 1)).unwrap_err().code(),
            "statement.too-long"
        );
    }

    #[test]
    fn every_byte_of_the_document_is_bound() {
        let good = statement().to_canonical().unwrap();
        let bound = report_data(&good);
        for i in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[i] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let refused = run(snp(&bound), &text, &expected(), UnixTime(1), &mut Transcript::default());
            assert_eq!(refused.unwrap_err(), StatementError::NotBound);
        }
    }
}
