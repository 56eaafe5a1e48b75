//! Answers `GET /attest`: a runtime statement for the client's nonce, evidence that binds it, stapled endorsements.

use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_protocol::document::AttestationDocument;
use casemate_protocol::statement::{
    self, KeyOrigin, ModelStatement, RuntimeStatement, Stated, StatementError,
};

use crate::api::{AttestSource, AttestSourceError};
use crate::attester::{Attester, AttesterError};
use crate::staple::{StapleError, Staples};
use crate::tls::TlsIdentity;

/// Everything that the enclave states about itself, and the device that vouches for it.
pub struct AttestationService {
    attester: Arc<dyn Attester>,
    staples: Staples,
    tls_spki_sha256: [u8; 32],
    tls_key_origin: KeyOrigin,
    models: Vec<ModelStatement>,
    token: RwLock<Option<Token>>,
}

/// Why no attestation document could be made.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// The device gave no evidence.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// An endorsement is missing.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// The statement could not be written.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The machine's clock is before 1970.
    #[error("the machine's clock is before 1970")]
    Clock,
}

impl AttestationError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Attester(e) => e.code(),
            Self::Staple(e) => e.code(),
            Self::Statement(e) => e.code(),
            Self::Clock => "attestation.clock",
        }
    }
}

struct Token {
    jwt: String,
    /// Seconds since 1970.
    received: u64,
}

impl AttestationService {
    /// A service for the given keys and models.
    pub fn new(
        attester: Arc<dyn Attester>,
        staples: Staples,
        tls: &TlsIdentity,
        models: Vec<ModelStatement>,
    ) -> Self {
        let (tls_spki_sha256, tls_key_origin) = (tls.spki_sha256(), tls.origin());
        Self { attester, staples, tls_spki_sha256, tls_key_origin, models, token: RwLock::new(None) }
    }

    /// Takes over the broker's newest attestation result.
    pub fn set_token(&self, jwt: String) -> Result<(), AttestationError> {
        let received = now()?;
        *self.token.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Token { jwt, received });
        Ok(())
    }

    /// A document whose statement answers `nonce`, or says `none`.
    pub fn document(&self, nonce: Option<[u8; 32]>) -> Result<AttestationDocument, AttestationError> {
        let now = now()?;
        let statement = RuntimeStatement {
            format: statement::FORMAT,
            nonce: nonce.map_or(Stated::None, Stated::Is),
            tls_spki_sha256: Stated::Is(self.tls_spki_sha256),
            tls_key_origin: self.tls_key_origin,
            ohttp_config_sha256: Stated::None,
            receipt_key_sha256: Stated::None,
            models: self.models.clone(),
            device_evidence_sha256: Stated::None,
            release_policy_sha256: Stated::None,
            software: concat!("casemate ", env!("CARGO_PKG_VERSION")).into(),
            not_after: now.saturating_add(STATEMENT_LIFETIME),
        }
        .to_canonical()?;
        let raw = self.attester.evidence(&statement::report_data(&statement))?;
        let token = self.token.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        // An attestation result that has run out is not handed on.
        let token =
            token.as_ref().filter(|t| now < t.received.saturating_add(TOKEN_LIFETIME)).map(|t| t.jwt.clone());
        Ok(AttestationDocument::new(
            raw.platform,
            &raw.evidence,
            self.staples.complete(&raw)?,
            statement,
            token,
        ))
    }
}

impl AttestSource for AttestationService {
    fn attestation_document(
        &self,
        nonce: Option<[u8; 32]>,
    ) -> Result<AttestationDocument, AttestSourceError> {
        self.document(nonce).map_err(|error| AttestSourceError { code: error.code() })
    }
}

fn now() -> Result<u64, AttestationError> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).map_err(|_| AttestationError::Clock)
}

/// A client renews at the latest after this many seconds (spec/channel.md, CH-4).
const STATEMENT_LIFETIME: u64 = 3600;
/// The broker's results live five minutes (spec/release.md).
const TOKEN_LIFETIME: u64 = 300;
