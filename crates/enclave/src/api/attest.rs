//! `GET /attest`.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use casemate_protocol::document::AttestationDocument;

use super::ApiState;
use super::error::ApiError;

/// Makes attestation documents: a signed statement of what runs here.
pub trait AttestSource: Send + Sync {
    /// A document that answers `nonce`, or one that says that it answers none. May block on a device.
    ///
    /// # Errors
    /// [`AttestSourceError`] with the code of what failed.
    fn attestation_document(&self, nonce: Option<[u8; 32]>)
    -> Result<AttestationDocument, AttestSourceError>;
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
    let nonce = nonce(query.as_deref())?;
    let source = state.attest;
    let document = tokio::task::spawn_blocking(move || source.attestation_document(nonce))
        .await
        // The source panicked.
        .map_err(|_| ApiError::Attest(AttestSourceError { code: "attestation.failed" }))?
        .map_err(ApiError::Attest)?;
    Ok(Json(document).into_response())
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
