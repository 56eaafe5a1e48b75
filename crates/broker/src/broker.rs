//! The three calls of RCAR 0.4.0, without HTTP: requests in, answers out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::json::{self, JsonError, shorten};
use casemate_attest::{Authentic, Binding, Evidence, IssuerCache, UnixTime, verify};
use casemate_protocol::additional;
use casemate_protocol::jwe::{Jwe, encrypt_to};
use casemate_protocol::kbs::{
    self, Attestation, Challenge, HASH_ALGORITHM, PrimaryEvidence, Request, RuntimeData, TEES, TokenResponse,
    VERSION,
};
use casemate_protocol::statement;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::anchors::{AnchorIdentity, BrokerAnchors};
use crate::baseline::Baseline;
use crate::chance::{Clock, Entropy, random};
use crate::decide::decide;
use crate::fault::Fault;
use crate::resource::ResourcePath;
use crate::session::{Attested, SessionId, Sessions, Taken};
use crate::store::{AuditEntry, AuditOutcome, Call, Store, jwe_randomness};
use crate::token::{TokenError, TokenSigner};

/// The name under which this broker states attestation results, where no other is configured.
pub const DEFAULT_ISSUER: &str = "https://casemate.dev/broker";

/// Everything that a broker is made of.
pub struct BrokerConfig {
    /// The keys.
    pub store: Store,
    /// The root of trust; the one that the store was created for.
    pub anchors: BrokerAnchors,
    /// What every machine must be before any key's own policy is asked: see [`baseline`](crate::baseline()).
    pub baseline: Baseline,
    /// This broker's name as an authority, byte for byte as policies write it.
    pub issuer: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
}

/// A running broker: what all of its calls share.
pub struct BrokerState {
    store: Store,
    anchors: BrokerAnchors,
    baseline: Baseline,
    issuer: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    sessions: Mutex<Sessions>,
    tokens: TokenSigner,
    /// Machines of one fleet share their issuers and revocation lists.
    issuers: Arc<IssuerCache>,
}

/// Why a broker does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The store was created for another root of trust.
    #[error("the key store is for evidence under `{recorded}`, and the broker trusts `{given}`")]
    Anchors {
        /// What the store was created for.
        recorded: AnchorIdentity,
        /// What the broker trusts.
        given: AnchorIdentity,
    },
    /// An empty issuer, or one with white space or control characters.
    #[error("the issuer must be a URL without white space")]
    Issuer,
    /// No token-signing key could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A new session, as the HTTP layer announces it.
pub(crate) struct Opened {
    pub(crate) id: SessionId,
    pub(crate) end: UnixTime,
    pub(crate) challenge: Challenge,
}

/// How a request says which session it belongs to.
pub(crate) enum Credential {
    Cookie(SessionId),
    Bearer(String),
}

// === impl BrokerState ===

impl BrokerState {
    /// Starts a broker.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: BrokerConfig) -> Result<Self, StartError> {
        let BrokerConfig { store, anchors, baseline, issuer, clock, entropy } = config;
        let (recorded, given) = (store.anchors(), anchors.identity());
        if recorded != given {
            return Err(StartError::Anchors { recorded, given });
        }
        if issuer.is_empty() || !issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StartError::Issuer);
        }
        let tokens = TokenSigner::new(&issuer)?;
        let sessions = Mutex::new(Sessions::default());
        let issuers = Arc::new(IssuerCache::new());
        Ok(Self { store, anchors, baseline, issuer, clock, entropy, sessions, tokens, issuers })
    }

    /// The key store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The public key set of this broker's tokens.
    pub fn key_set(&self) -> Value {
        self.tokens.key_set()
    }

    /// `POST /kbs/v0/auth`.
    pub(crate) fn auth(&self, body: &[u8]) -> Result<Opened, Fault> {
        let request: Request = message(body, "the request")?;
        if request.version != VERSION {
            return Err(Fault::Version { found: shorten(&request.version) });
        }
        if !TEES.contains(&request.tee.as_str()) {
            return Err(Fault::Tee { found: shorten(&request.tee) });
        }
        let extra_params = selected_hash(&request.extra_params)?;
        let nonce = B64.encode(random::<32>(&*self.entropy)?);
        let id = SessionId::new(random(&*self.entropy)?);
        let end = self.sessions().open(id, nonce.clone(), self.clock.now());
        Ok(Opened { id, end, challenge: Challenge { nonce, extra_params } })
    }

    /// `POST /kbs/v0/attest`.
    pub(crate) fn attest(&self, id: SessionId, body: &[u8]) -> Result<TokenResponse, Fault> {
        let now = self.clock.now();
        let attestation: Attestation = message(body, "the attestation")?;
        let request_sha256 = sha256(body);
        // Taken: whatever comes of it, this nonce is not accepted again.
        let nonce = match self.sessions().take(id, now).map_err(Fault::Session)? {
            Taken::Challenge { nonce } => nonce,
            Taken::Attested(attested) if attested.request_sha256 == request_sha256 => {
                return Ok(TokenResponse { token: attested.token.clone() });
            }
            Taken::Attested(_) => return Err(Fault::NonceUsed),
        };

        let mut entry = AuditEntry::new(now, Call::Attest, AuditOutcome::Refused, "ok");
        entry.session = Some(id.log_name());
        let appraised = self.appraise(&attestation, &nonce, now, request_sha256, &mut entry);
        entry.outcome = if appraised.is_ok() { AuditOutcome::Attested } else { AuditOutcome::Refused };
        entry.code = appraised.as_ref().map_or_else(Fault::code, |_| "ok");
        self.store.log(&entry)?;

        let attested = Arc::new(appraised?);
        let token = attested.token.clone();
        tracing::info!(
            session = hex::encode(id.log_name()),
            measurement = hex::encode(attested.composite.machine().claims().measurement()),
            devices = attested.composite.devices().map_or(0, |devices| devices.devices().len()),
            vtpm = attested.composite.vtpm().is_some(),
            simulated = attested.composite.simulated(),
            "attested"
        );
        self.sessions().attested(id, attested, now);
        Ok(TokenResponse { token })
    }

    /// `GET /kbs/v0/resource/<repository>/<type>/<tag>`.
    pub(crate) fn resource(&self, credential: &Credential, path: &str) -> Result<Jwe, Fault> {
        let now = self.clock.now();
        let (id, attested) = match credential {
            Credential::Cookie(id) => (*id, self.sessions().by_cookie(*id, now).map_err(Fault::Session)?),
            Credential::Bearer(token) => self.sessions().by_token(token, now).map_err(Fault::Session)?,
        };
        let resource: ResourcePath = path.parse()?;

        let mut entry = AuditEntry::new(now, Call::Resource, AuditOutcome::Refused, "ok");
        entry.session = Some(id.log_name());
        entry.resource = Some(resource.clone());
        entry.measurement = Some(*attested.composite.machine().claims().measurement());
        entry.evidence_sha256 = Some(attested.evidence_sha256);
        let released = self.release(&attested, &resource, now, &mut entry);
        if let Err(fault) = &released {
            entry.outcome = AuditOutcome::Refused;
            entry.code = fault.code();
            self.store.log(&entry)?;
        }
        released
    }

    /// Parses, verifies and appraises; fills `entry` with what is known so far.
    fn appraise(
        &self,
        attestation: &Attestation,
        nonce: &str,
        now: UnixTime,
        request_sha256: [u8; 32],
        entry: &mut AuditEntry,
    ) -> Result<Attested, Fault> {
        let Attestation { init_data, runtime_data, tee_evidence } = attestation;
        if init_data.is_some() {
            return Err(Fault::InitData);
        }
        if runtime_data.nonce != nonce {
            return Err(Fault::Nonce);
        }
        let primary: PrimaryEvidence = serde_json::from_value(tee_evidence.primary_evidence.clone())
            .map_err(|_| Fault::Shape { part: "the primary evidence" })?;
        let bytes = primary.bytes()?;
        let evidence_sha256 = sha256(&bytes);
        entry.evidence_sha256 = Some(evidence_sha256);
        let expected = kbs::report_data(runtime_data, &tee_evidence.additional_evidence)?;

        let evidence = Evidence::parse(&bytes)?;
        let endorsements = primary.endorsements(&evidence)?;
        let bound = statement::bound(evidence.platform(), &expected);
        let verification = || verify(&evidence, &endorsements, self.anchors.trust(), now);
        let authentic: Authentic =
            self.issuers.during(verification).map_err(|rejected| Fault::Rejected(Box::new(rejected)))?;
        entry.measurement = Some(*authentic.claims().measurement());
        let verified = authentic
            .appraise(&self.baseline.machine, &Binding::qualifying_data(bound))
            .map_err(|denied| Fault::Denied(Box::new(denied)))?;
        let beside = &tee_evidence.additional_evidence;
        let (terms, anchors) = (&self.baseline.parts, self.anchors.parts());
        let composite = || additional::check(verified, runtime_data, beside, terms, anchors, now);
        let composite = self.issuers.during(composite).map_err(|it| Fault::Additional(Box::new(it)))?;

        self.check_recipient(runtime_data)?;
        let token = self.tokens.issue(&composite, runtime_data, now, random(&*self.entropy)?)?;
        let tee_pubkey = runtime_data.tee_pubkey.clone();
        Ok(Attested { composite, tee_pubkey, token, evidence_sha256, request_sha256 })
    }

    /// Whether a secret can be encrypted to the attested key at all: better known now than at the release.
    fn check_recipient(&self, runtime: &RuntimeData) -> Result<(), Fault> {
        let random = jwe_randomness(&*self.entropy)?;
        encrypt_to(&runtime.tee_pubkey, &[], random).map_err(Fault::Recipient)?;
        Ok(())
    }

    /// Decides, writes the decision down, takes the key out and encrypts it to the attested key.
    fn release(
        &self,
        attested: &Attested,
        resource: &ResourcePath,
        now: UnixTime,
        entry: &mut AuditEntry,
    ) -> Result<Jwe, Fault> {
        let record = self.store.record(resource)?;
        entry.model = Some(record.model());
        entry.policy_sha256 = Some(record.policy().digest());
        let permit = decide(&attested.composite, &record, &self.issuer, now)?;

        entry.outcome = AuditOutcome::Released;
        self.store.log(entry)?;
        let jwe = self.store.unwrap(permit)?.encrypt_to(&attested.tee_pubkey, &*self.entropy)?;
        tracing::info!(
            resource = resource.as_str(),
            measurement = hex::encode(attested.composite.machine().claims().measurement()),
            simulated = attested.composite.simulated(),
            "released"
        );
        Ok(jwe)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // The table's invariants hold between its calls, and no call of it can panic half-way.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StartError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Anchors { .. } => "store.anchors",
            Self::Issuer => "broker.issuer",
            Self::Token(error) => error.code(),
        }
    }
}

/// Reads a message in two steps, so that a member named twice at any depth is refused.
fn message<T: DeserializeOwned>(body: &[u8], part: &'static str) -> Result<T, Fault> {
    let value = json::parse(body).map_err(|error| match error {
        JsonError::Syntax { line, column } => Fault::Syntax { line, column },
        JsonError::Duplicate { member } => Fault::DuplicateMember { member },
    })?;
    serde_json::from_value(value).map_err(|_| Fault::Shape { part })
}

/// The challenge's `extra-params`: the selected hash where the client offered hashes, empty where it offered none.
fn selected_hash(offered: &Value) -> Result<Value, Fault> {
    let shape = Fault::Shape { part: "extra-params" };
    match offered {
        Value::String(text) if text.is_empty() => Ok(Value::String(String::new())),
        Value::Object(members) => match members.get("supported-hash-algorithms") {
            None => Ok(Value::String(String::new())),
            Some(Value::Array(names)) if names.iter().any(|name| name == HASH_ALGORITHM) => {
                Ok(json!({ "selected-hash-algorithm": HASH_ALGORITHM }))
            }
            Some(Value::Array(_)) => Err(Fault::HashAlgorithm),
            Some(_) => Err(shape),
        },
        _ => Err(shape),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
