//! HTTP: paths, headers and bodies around the three calls.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use casemate_attest::UnixTime;
use casemate_protocol::kbs::{BASE_PATH, SESSION_COOKIE};

use crate::broker::{BrokerState, Credential};
use crate::fault::Fault;
use crate::session::{SESSION_SECONDS, SessionFault, SessionId};

/// The longest body of `auth`, in bytes.
pub const MAX_AUTH_BODY: usize = 16 * 1024;
/// The longest body of `attest`, in bytes. AMD's endorsements need about 10 KiB, Intel's collateral with its
/// certificate chains several times as much; GPUs bring some 100 KiB of manifests and 20 KiB each, a virtual TPM its event log.
pub const MAX_ATTEST_BODY: usize = 1024 * 1024;

/// The broker's HTTP interface.
pub fn router(state: Arc<BrokerState>) -> Router {
    Router::new()
        .route(&format!("{BASE_PATH}/auth"), post(auth))
        .route(&format!("{BASE_PATH}/attest"), post(attest))
        .route(&format!("{RESOURCE_PREFIX}{{*path}}"), get(resource))
        .route("/.well-known/jwks.json", get(key_set))
        .route("/healthz", get(healthz))
        .fallback(async || Fault::NoPlugin)
        .method_not_allowed_fallback(async || Fault::Method)
        .with_state(state)
}

const RESOURCE_PREFIX: &str = "/kbs/v0/resource/";
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

async fn auth(State(state): State<Arc<BrokerState>>, request: Request) -> Result<Response, Fault> {
    let body = body(request.into_body(), MAX_AUTH_BODY).await?;
    let opened = work(move || state.auth(&body)).await?;
    let cookie = format!(
        "{SESSION_COOKIE}={}; Path={BASE_PATH}; Max-Age={SESSION_SECONDS}; Expires={}; HttpOnly; SameSite=Strict",
        opened.id.to_text(),
        http_date(opened.end),
    );
    Ok((NO_STORE, [(header::SET_COOKIE, cookie)], Json(opened.challenge)).into_response())
}

async fn attest(State(state): State<Arc<BrokerState>>, request: Request) -> Result<Response, Fault> {
    let id = session_cookie(request.headers())?.ok_or(Fault::NoSession)?;
    let body = body(request.into_body(), MAX_ATTEST_BODY).await?;
    let token = work(move || state.attest(id, &body)).await?;
    Ok((NO_STORE, Json(token)).into_response())
}

async fn resource(State(state): State<Arc<BrokerState>>, request: Request) -> Result<Response, Fault> {
    let credential = credential(request.headers())?;
    // The path as it was sent: escapes are not decoded, and the plain alphabet of key paths has none.
    let path = request.uri().path().strip_prefix(RESOURCE_PREFIX).unwrap_or_default().to_owned();
    let jwe = work(move || state.resource(&credential, &path)).await?;
    Ok((NO_STORE, Json(jwe)).into_response())
}

async fn key_set(State(state): State<Arc<BrokerState>>) -> Response {
    Json(state.key_set()).into_response()
}

async fn healthz() -> StatusCode {
    StatusCode::OK
}

/// Runs a call where it may block: it computes signatures and waits for the disk.
async fn work<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|_| Fault::Worker)?
}

async fn body(body: Body, limit: usize) -> Result<Vec<u8>, Fault> {
    to_bytes(body, limit).await.map(Vec::from).map_err(|_| Fault::Body { limit })
}

/// A bearer token where there is one, else the session cookie.
fn credential(headers: &HeaderMap) -> Result<Credential, Fault> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => Ok(Credential::Cookie(session_cookie(headers)?.ok_or(Fault::NoSession)?)),
        (Some(_), Some(_)) => Err(Fault::TwoSessions),
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            Ok(Credential::Bearer(token.ok_or(Fault::NoSession)?.to_owned()))
        }
    }
}

fn session_cookie(headers: &HeaderMap) -> Result<Option<SessionId>, Fault> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Fault::TwoSessions),
        (Some(value), None) => SessionId::parse(value).map(Some).ok_or(Fault::Session(SessionFault::Unknown)),
    }
}

/// The time in the form of RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the time is clamped below, so every sum and difference is small"
)]
fn http_date(time: UnixTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Four digits of a year end here.
    let seconds = time.0.min(253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        (year, day) = (year + 1, day - length);
    }
    let mut month = 0;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        (month, day) = (month + 1, day - length);
    }
    format!(
        "{}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        day + 1,
        name(&MONTHS, month),
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from GNU date.
    #[test]
    fn dates_are_those_of_rfc_9110() {
        for (time, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_478_400, "Tue, 24 Nov 2026 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(UnixTime(time)), text);
        }
    }
}
