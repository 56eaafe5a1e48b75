//! The address on this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use casemate_attest::UnixTime;
use casemate_protocol::Plaintext;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ProxyError;
use super::{MOST_REQUESTS, Proxy, headers, receipts};
use crate::forward;
use crate::peer::PeerState;

/// The proxy's HTTP interface.
pub fn router(proxy: Arc<Proxy>) -> Router {
    Router::new().route("/health", get(health)).fallback(forwarded).with_state(proxy)
}

async fn forwarded(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let anthropic = request.uri().path().starts_with(MESSAGES);
    match forward_one(&proxy, request).await {
        Ok(response) => response,
        Err(error) => error.answer(anthropic),
    }
}

async fn forward_one(proxy: &Proxy, request: Request) -> Result<Response, ProxyError> {
    let (parts, body) = request.into_parts();
    // Before a byte of the body is read.
    permitted(proxy, &parts.headers)?;
    let place = place(proxy, &parts)?;
    let body = read(body, &parts.headers, proxy.max_body).await?;
    send(proxy, parts, body, place).await
}

/// Answers a request of a program that is this very process: whatever goes wrong is an answer too, as a program gets it over the network.
pub async fn answer(proxy: &Proxy, request: axum::http::Request<Vec<u8>>) -> Response {
    let anthropic = request.uri().path().starts_with(MESSAGES);
    let (parts, body) = request.into_parts();
    let answered = async {
        let place = place(proxy, &parts)?;
        if body.len() > proxy.max_body {
            return Err(ProxyError::TooLong { limit: proxy.max_body });
        }
        send(proxy, parts, Plaintext::new(body), place).await
    };
    answered.await.unwrap_or_else(|error| error.answer(anthropic))
}

/// PRX-09, PRX-11.
fn place(proxy: &Proxy, parts: &Parts) -> Result<OwnedSemaphorePermit, ProxyError> {
    if !is_api(parts.uri.path()) {
        return Err(ProxyError::Path);
    }
    let place = proxy.places.clone().try_acquire_owned();
    place.map_err(|_| ProxyError::Busy { most: MOST_REQUESTS })
}

async fn send(
    proxy: &Proxy,
    parts: Parts,
    body: Plaintext<Vec<u8>>,
    place: OwnedSemaphorePermit,
) -> Result<Response, ProxyError> {
    let mut headers = headers::for_server(&parts.headers);
    if let Some(key) = &proxy.api_key {
        headers.remove("x-api-key");
        headers.insert(header::AUTHORIZATION, key.0.clone());
    }
    let target = parts.uri.path_and_query().map_or_else(|| API.to_owned(), ToString::to_string);
    let request = forward::Request { method: parts.method, target, headers, body: Arc::new(body) };
    let answer = proxy.pool.send(&request).await?;
    let body = Box::pin(held(answer.body, place));
    let expected = receipts::expected(&request.method, &request.target, answer.status);
    let body = match proxy.receipts.clone().filter(|_| expected) {
        None => Body::from_stream(body),
        Some(folder) => {
            let request = Sha256::digest(request.body.expose()).into();
            let now = proxy.pool.clock().unwrap_or(UnixTime(u64::MAX));
            let about = receipts::About { session: answer.session, request, now };
            match is_stream(&answer.headers) {
                true => receipts::streamed(folder, about, body),
                false => receipts::whole(&folder, about, &answer.headers, body).await?,
            }
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers::for_application(&answer.headers);
    Ok(response)
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// The stream, whose place is free again when it ends.
fn held<S: futures_util::Stream>(
    body: S,
    place: OwnedSemaphorePermit,
) -> impl futures_util::Stream<Item = S::Item> {
    body.map(move |chunk| {
        let _held = &place;
        chunk
    })
}

/// A path of the API, with nothing in it that leads out of it again.
fn is_api(path: &str) -> bool {
    let climbs = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.starts_with(API) && !path.contains('\\') && !path.split('/').any(climbs)
}

/// Programs call the proxy by this machine's own names. A page in a browser that was led here by another name, or that is of another
/// site, is not the person's program (PRX-02).
fn permitted(proxy: &Proxy, headers: &HeaderMap) -> Result<(), ProxyError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if proxy.loopback && !text(header::HOST).is_some_and(is_here) {
        return Err(ProxyError::Host);
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.split_once("://").is_some_and(|(_, authority)| is_here(authority)) => Ok(()),
        Some(_) => Err(ProxyError::Origin),
    }
}

/// Whether a host and port are of this machine's loopback.
fn is_here(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Plaintext<Vec<u8>>, ProxyError> {
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if let Some(stated) = stated.filter(|stated| *stated > limit) {
        if stated <= limit.saturating_add(READ_AND_REFUSED) {
            // A program that is still sending may hear of a broken connection, and not of the answer.
            let rest = body.into_data_stream().for_each(|_| std::future::ready(()));
            let _ = tokio::time::timeout(BODY_LIMIT, rest).await;
        }
        return Err(ProxyError::TooLong { limit });
    }
    let slow = |_| ProxyError::Slow { seconds: BODY_LIMIT.as_secs() };
    let read = tokio::time::timeout(BODY_LIMIT, to_bytes(body, limit)).await.map_err(slow)?;
    match read {
        Ok(bytes) => Ok(Plaintext::new(Vec::from(bytes))),
        Err(error) if is_too_long(&error) => Err(ProxyError::TooLong { limit }),
        Err(_) => Err(ProxyError::Cut),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn health(State(proxy): State<Arc<Proxy>>, headers: HeaderMap) -> Response {
    if let Err(error) = permitted(&proxy, &headers) {
        return error.answer(false);
    }
    let servers: Vec<Value> =
        proxy.pool.peers().iter().map(|peer| described(peer.url(), &peer.state())).collect();
    axum::Json(json!({ "schema": "casemate.proxy.health/1", "servers": servers })).into_response()
}

fn described(url: &str, state: &PeerState) -> Value {
    match state {
        PeerState::Unverified => json!({ "url": url, "state": "unverified" }),
        PeerState::Verified { valid_until, simulated } => {
            json!({ "url": url, "state": "verified", "valid_until": valid_until.0, "simulated": simulated })
        }
        PeerState::Failed { code } => json!({ "url": url, "state": "failed", "code": code }),
    }
}

const API: &str = "/v1/";
const MESSAGES: &str = "/v1/messages";
/// How much longer than it may be a body is read, only to be refused.
const READ_AND_REFUSED: usize = 4 * 1024 * 1024;
/// A program on this machine that has something to say says it at once.
const BODY_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_api_stays_there() {
        for good in ["/v1/models", "/v1/models/a..b", "/v1/receipts/x.y", "/v1/...", "/v1/%2e%2e%2e"] {
            assert!(is_api(good), "{good}");
        }
        for bad in [
            "/",
            "/v1",
            "/v1x/models",
            "/infer",
            "/v1/../infer",
            "/v1/.",
            "/v1/a/..",
            "/v1/%2e%2E/infer",
            "/v1/.%2e/x",
        ] {
            assert!(!is_api(bad), "{bad}");
        }
        assert!(!is_api("/v1/..\\infer"));
    }

    #[test]
    fn names_of_this_machine_are_read_exactly() {
        for here in ["localhost", "LocalHost:8337", "127.0.0.1:1", "127.8.9.1", "[::1]", "[::1]:8337"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in
            ["", "localhost.", "127.0.0.1.example", "0.0.0.0", "[::]", "10.0.0.1:8337", "local host", "::1"]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
