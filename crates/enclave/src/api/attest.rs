//! `GET /attest`.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::error::ApiError;
use crate::staple::EndorsementHealth;

/// Makes attestation documents: a signed statement of what runs here. They are JSON (spec/channel.md, CH-7).
pub trait AttestSource: Send + Sync {
    /// A document that answers `nonce`. May block on a device.
    ///
    /// # Errors
    /// [`AttestSourceError`] with the code of what failed.
    fn attestation_document(&self, nonce: [u8; 32]) -> Result<Bytes, AttestSourceError>;

    /// The document that answers no nonce: made ahead, so that no device is asked (STAPLE-09).
    ///
    /// # Errors
    /// [`AttestSourceError`] where none is ready, or it has run out.
    fn ready_document(&self) -> Result<Bytes, AttestSourceError>;

    /// How many seconds ago the ready document was made; `None` where there is none, or no time.
    fn evidence_age(&self) -> Option<u64> {
        None
    }

    /// SHA-256 of the evidence in the ready document, which receipts name.
    fn evidence_sha256(&self) -> Option<[u8; 32]> {
        None
    }

    /// How the endorsements stand.
    ///
    /// # Errors
    /// [`AttestSourceError`] where the machine's clock tells no time.
    fn endorsements(&self) -> Result<EndorsementHealth, AttestSourceError>;
}

/// No document could be made. What failed in detail is for the operator's log, not for every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no attestation document can be made ({code})")]
pub struct AttestSourceError {
    /// The stable name of the failure.
    pub code: &'static str,
}

pub(super) async fn attest(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let source = state.attest;
    let document = match nonce(query.as_deref())? {
        None => source.ready_document(),
        Some(nonce) => {
            let made = tokio::task::spawn_blocking(move || source.attestation_document(nonce)).await;
            // The source panicked.
            made.unwrap_or(Err(AttestSourceError { code: "attestation.failed" }))
        }
    };
    let document = document.map_err(ApiError::Attest)?;
    Ok(([(CONTENT_TYPE, "application/json")], document).into_response())
}

/// The query is nothing, or `nonce=` and 64 hexadecimal digits. Digits need no percent-decoding.
fn nonce(query: Option<&str>) -> Result<Option<[u8; 32]>, ApiError> {
    let Some(query) = query else { return Ok(None) };
    let digits = query.strip_prefix("nonce=").ok_or(ApiError::Query)?;
    if digits.contains('&') {
        return Err(ApiError::Query);
    }
    let mut nonce = [0; 32];
    hex::decode_to_slice(digits, &mut nonce).map_err(|_| ApiError::Nonce)?;
    Ok(Some(nonce))
}
