//! `GET /ready`: whether a client that comes now would be served. `GET /health` says that the server lives, and how its
//! endorsements stand.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::error::ApiError;
use crate::staple::EndorsementState;

/// The first of the reasons why not, with its code and status 503.
pub(super) async fn ready(State(state): State<ApiState>) -> Result<Response, ApiError> {
    if state.draining.is_set() {
        return Err(ApiError::Draining);
    }
    state.engine.health()?;
    if state.attest.endorsements().map_err(ApiError::NotReady)?.state == EndorsementState::Expired {
        return Err(ApiError::EndorsementsExpired);
    }
    state.attest.ready_document().map_err(ApiError::NotReady)?;
    Ok(axum::Json(serde_json::json!({"status": "ready"})).into_response())
}
