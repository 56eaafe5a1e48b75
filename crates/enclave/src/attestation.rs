//! Answers `GET /attest`: a runtime statement for the client's nonce, evidence that binds it, stapled endorsements. Without a
//! nonce the answer is a document that is made ahead and kept ready (STAPLE-09).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use casemate_attest::UnixTime;
use casemate_protocol::devices;
use casemate_protocol::document::AttestationDocument;
use casemate_protocol::statement::{
    self, EngineStatement, KeyOrigin, ModelStatement, RuntimeStatement, Stated, StatementError,
};

use crate::api::{AttestSource, AttestSourceError};
use crate::attester::{Attester, AttesterError};
use crate::clock::Clock;
use crate::gpu::{GpuError, Gpus};
use crate::operator::{Operator, OperatorError};
use crate::receipts::Receipts;
use crate::sealed::{SealedKeys, Unopened};
use crate::staple::{EndorsementHealth, StapleError, Staples};
use crate::tls::TlsIdentity;
use crate::vtpm::{Vtpm, VtpmError};

/// Everything that the enclave states about itself, and the devices that vouch for it.
pub struct AttestationService {
    attester: Arc<dyn Attester>,
    gpus: Option<Arc<Gpus>>,
    vtpm: Option<Arc<Vtpm>>,
    sealed: Option<Arc<SealedKeys>>,
    receipts: Option<Arc<Receipts>>,
    operator: Option<Operator>,
    staples: Staples,
    tls_spki_sha256: [u8; 32],
    tls_key_origin: KeyOrigin,
    models: Vec<ModelStatement>,
    engine: EngineStatement,
    clock: Clock,
    token: RwLock<Option<Token>>,
    ready: RwLock<Option<ReadyMade>>,
}

/// Why no attestation document could be made.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// The device gave no evidence.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// A GPU gave no evidence.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The virtual TPM gave no evidence.
    #[error(transparent)]
    Vtpm(#[from] VtpmError),
    /// There are no keys for the sealed channel.
    #[error(transparent)]
    Sealed(#[from] Unopened),
    /// The operator's key does not sign.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// An endorsement is missing.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// The statement could not be written.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The machine's clock is before 1970.
    #[error("the machine's clock is before 1970")]
    Clock,
    /// The document could not be written as JSON.
    #[error("the attestation document cannot be written")]
    Render,
    /// There is no ready document, or its statement has run out.
    #[error("no attestation document is ready")]
    NotReady,
}

impl AttestationError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Attester(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Vtpm(e) => e.code(),
            Self::Sealed(e) => e.code(),
            Self::Operator(e) => e.code(),
            Self::Staple(e) => e.code(),
            Self::Statement(e) => e.code(),
            Self::Clock => "attestation.clock",
            Self::Render => "attestation.render",
            Self::NotReady => "attestation.not-ready",
        }
    }
}

struct Token {
    jwt: String,
    received: UnixTime,
}

/// A document that is served as it is.
#[derive(Clone)]
struct ReadyMade {
    json: Bytes,
    /// The first second at which nobody may rely on its statement.
    not_after: UnixTime,
    /// Of the endorsements in it.
    valid_until: UnixTime,
    /// SHA-256 of its evidence.
    evidence: [u8; 32],
}

impl AttestationService {
    /// A service for the given keys and models.
    pub fn new(
        attester: Arc<dyn Attester>,
        staples: Staples,
        tls: &TlsIdentity,
        models: Vec<ModelStatement>,
    ) -> Self {
        Self {
            attester,
            gpus: None,
            vtpm: None,
            sealed: None,
            receipts: None,
            operator: None,
            staples,
            tls_spki_sha256: tls.spki_sha256(),
            tls_key_origin: tls.origin(),
            models,
            engine: EngineStatement::Embedded,
            clock: Clock::system(),
            token: RwLock::new(None),
            ready: RwLock::new(None),
        }
    }

    /// With the machine's GPUs, where it has some: every document then has their evidence too.
    #[must_use]
    pub fn with_gpus(self, gpus: Option<Arc<Gpus>>) -> Self {
        Self { gpus, ..self }
    }

    /// With the virtual TPM beside the hardware, where it is shown: every document then has its evidence too.
    #[must_use]
    pub fn with_vtpm(self, vtpm: Option<Arc<Vtpm>>) -> Self {
        Self { vtpm, ..self }
    }

    /// With the keys of the sealed channel: every document then has the newest of them.
    #[must_use]
    pub fn with_sealed(self, sealed: Arc<SealedKeys>) -> Self {
        Self { sealed: Some(sealed), ..self }
    }

    /// With the key that signs receipts: every statement then names it.
    #[must_use]
    pub fn with_receipts(self, receipts: Arc<Receipts>) -> Self {
        Self { receipts: Some(receipts), ..self }
    }

    /// With the operator's key: it then signs every statement.
    #[must_use]
    pub fn with_operator(self, operator: Option<Operator>) -> Self {
        Self { operator, ..self }
    }

    /// With another engine than the embedded one: every statement then names it.
    #[must_use]
    pub fn with_engine(self, engine: EngineStatement) -> Self {
        Self { engine, ..self }
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Takes over the broker's newest attestation result.
    pub fn set_token(&self, jwt: String) -> Result<(), AttestationError> {
        let received = self.now()?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(Token { jwt, received });
        Ok(())
    }

    /// A document whose statement answers `nonce`, or says `none`.
    pub fn document(&self, nonce: Option<[u8; 32]>) -> Result<AttestationDocument, AttestationError> {
        self.document_at(nonce, self.now()?, 0)
    }

    /// Makes the document that is served without a nonce; until the next time, which comes within a minute, it is served
    /// as it is. What cannot be made leaves the older one.
    ///
    /// # Errors
    /// As [`AttestationService::document`].
    pub fn restaple(&self) -> Result<(), AttestationError> {
        let now = self.now()?;
        // Read first: a set that takes this one's place meanwhile is not older.
        let valid_until = self.health(now).valid_until;
        let document = self.document_at(None, now, RESTAPLE.as_secs())?;
        let evidence = document.evidence_bytes().map_err(|_| AttestationError::Render)?;
        let evidence = digest(&SHA256, &evidence).as_ref().try_into().unwrap_or_default();
        let json = serde_json::to_vec(&document).map_err(|_| AttestationError::Render)?.into();
        let not_after = UnixTime(now.0.saturating_add(STATEMENT_LIFETIME));
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) =
            Some(ReadyMade { json, not_after, valid_until, evidence });
        Ok(())
    }

    /// The document that was made ahead, as JSON. No device is asked.
    ///
    /// # Errors
    /// Where none was made, or it has run out.
    pub fn ready(&self) -> Result<Bytes, AttestationError> {
        let now = self.now()?;
        self.staples.in_date(now)?;
        self.gpus.as_ref().map_or(Ok(()), |gpus| gpus.in_date(now))?;
        self.vtpm.as_ref().map_or(Ok(()), |vtpm| vtpm.in_date(now))?;
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner).clone();
        let in_date = |ready: &ReadyMade| now < ready.not_after && now <= ready.valid_until;
        Ok(ready.filter(in_date).ok_or(AttestationError::NotReady)?.json)
    }

    /// A document that carries no attestation result which runs out within `held` seconds.
    fn document_at(
        &self,
        nonce: Option<[u8; 32]>,
        now: UnixTime,
        held: u64,
    ) -> Result<AttestationDocument, AttestationError> {
        self.staples.in_date(now)?;
        self.vtpm.as_ref().map_or(Ok(()), |vtpm| vtpm.in_date(now))?;
        let nonce = nonce.map_or(Stated::None, Stated::Is);
        // The GPUs answer before the statement that names their evidence is bound into the CPU's.
        let devices =
            self.gpus.as_ref().map(|gpus| gpus.evidence(&devices::nonce(nonce), now)).transpose()?;
        let (device_evidence_sha256, devices) = devices.map_or((Stated::None, None), |(d, e)| (d, Some(e)));
        let sealed = self.sealed.as_ref().map(|keys| keys.offered()).transpose()?;
        let statement = RuntimeStatement {
            format: statement::FORMAT,
            nonce,
            tls_spki_sha256: Stated::Is(self.tls_spki_sha256),
            tls_key_origin: self.tls_key_origin,
            ohttp_config_sha256: sealed.as_ref().map_or(Stated::None, |offered| Stated::Is(offered.digest)),
            receipt_key_sha256: self
                .receipts
                .as_ref()
                .map_or(Stated::None, |receipts| Stated::Is(receipts.key_sha256())),
            models: self.models.clone(),
            engine: self.engine.clone(),
            device_evidence_sha256,
            vtpm_key_sha256: self.vtpm.as_ref().map_or(Stated::None, |vtpm| vtpm.stated()),
            release_policy_sha256: Stated::None,
            software: concat!("casemate ", env!("CARGO_PKG_VERSION")).into(),
            not_after: now.0.saturating_add(STATEMENT_LIFETIME),
        }
        .to_canonical()?;
        // The hardware and the virtual TPM bind the same statement, which names the key of the latter.
        let report_data = statement::report_data(&statement);
        let vtpm = self.vtpm.as_ref().map(|vtpm| vtpm.evidence(&report_data)).transpose()?;
        let raw = self.attester.evidence(&report_data)?;
        let operator = self.operator.as_ref().map(|operator| operator.sign(&statement)).transpose()?;
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        // An attestation result that has run out is not handed on.
        let young =
            |token: &&Token| now.0.saturating_add(held) < token.received.0.saturating_add(TOKEN_LIFETIME);
        let token = token.as_ref().filter(young).map(|token| token.jwt.clone());
        Ok(AttestationDocument::new(
            raw.platform,
            &raw.evidence,
            self.staples.complete(&raw)?,
            statement,
            token,
        )
        .with_devices(devices)
        .with_vtpm(vtpm)
        .with_operator(operator)
        .with_ohttp_keys(sealed.as_ref().map(|offered| &offered.configurations[..])))
    }

    /// How the endorsements of the whole machine stand: nobody believes it without those of its virtual TPM and its GPUs.
    fn health(&self, now: UnixTime) -> EndorsementHealth {
        let vtpm = self.vtpm.as_ref().map(|vtpm| vtpm.health(now));
        let gpus = self.gpus.as_ref().map(|gpus| gpus.health(now));
        [vtpm, gpus].into_iter().flatten().fold(self.staples.health(now), EndorsementHealth::with)
    }

    fn now(&self) -> Result<UnixTime, AttestationError> {
        self.clock.now().ok_or(AttestationError::Clock)
    }
}

impl AttestSource for AttestationService {
    fn attestation_document(&self, nonce: [u8; 32]) -> Result<Bytes, AttestSourceError> {
        let failed = |error: AttestationError| AttestSourceError { code: error.code() };
        let document = self.document(Some(nonce)).map_err(failed)?;
        let json = serde_json::to_vec(&document).map_err(|_| failed(AttestationError::Render))?;
        Ok(json.into())
    }

    fn ready_document(&self) -> Result<Bytes, AttestSourceError> {
        self.ready().map_err(|error| AttestSourceError { code: error.code() })
    }

    fn evidence_age(&self) -> Option<u64> {
        let now = self.now().ok()?;
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        let made = ready.as_ref()?.not_after.0.saturating_sub(STATEMENT_LIFETIME);
        Some(now.0.saturating_sub(made))
    }

    fn evidence_sha256(&self) -> Option<[u8; 32]> {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        Some(ready.as_ref()?.evidence)
    }

    fn endorsements(&self) -> Result<EndorsementHealth, AttestSourceError> {
        let now = self.now().map_err(|error| AttestSourceError { code: error.code() })?;
        Ok(self.health(now))
    }
}

/// A client renews at the latest after this many seconds (spec/channel.md, CH-4).
const STATEMENT_LIFETIME: u64 = 3600;
/// The broker's results live five minutes (spec/release.md).
const TOKEN_LIFETIME: u64 = 300;
/// How often the document without a nonce is made anew: what is left of an attestation result's life when the next one is
/// asked for (`TOKEN_LIFETIME` less the broker's renewal after 240 seconds).
pub(crate) const RESTAPLE: Duration = Duration::from_secs(60);
