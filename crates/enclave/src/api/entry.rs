//! Lets tenants in by their keys, before anything of a request is read (spec/serving.md, SRV-34).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::ApiState;
use super::chat::unix_seconds;
use super::error::ApiError;
use super::receipts::Draft;
use crate::tenants::{Refused, Visit};
use casemate_attest::UnixTime;

/// The tenant's request that a handler works on; none where the server knows no tenants.
#[derive(Clone, Default)]
pub(super) struct Entered {
    pub(super) visit: Option<Arc<Visit>>,
    /// What its receipt will say, where it gets one.
    pub(super) draft: Option<Arc<Draft>>,
}

/// Around the routes that cost something.
pub(super) async fn enter(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let visit = match &state.tenants {
        None => None,
        Some(tenants) => {
            let key = key(request.headers()).ok_or(ApiError::NoKey)?;
            let visit = tenants.enter(key, UnixTime(unix_seconds())).map_err(|refused| match refused {
                Refused::Unknown => ApiError::UnknownKey,
                Refused::Expired => ApiError::ExpiredKey,
                Refused::Busy(busy) => ApiError::Busy(busy),
            })?;
            Some(Arc::new(visit))
        }
    };
    request.extensions_mut().insert(Entered { visit, draft: None });
    Ok(next.run(request).await)
}

/// Whose request it is.
pub(super) fn entered(request: &Request) -> Entered {
    request.extensions().get().cloned().unwrap_or_default()
}

/// `Authorization: Bearer KEY`, or `x-api-key: KEY`, which Anthropic's clients send; not both.
fn key(headers: &HeaderMap) -> Option<&str> {
    let one = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let value = all.next()?.to_str().ok()?;
        all.next().is_none().then_some(value)
    };
    let bearer = one(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    match (bearer, one("x-api-key")) {
        (Some(key), None) | (None, Some(key)) => Some(key),
        (Some(_), Some(_)) | (None, None) => None,
    }
}
