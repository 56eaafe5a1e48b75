//! Which headers go where.

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};

/// Of the application's, for the server: what describes the body and the wish, and whose key it is. No cookie, no address, no
/// name of a program.
const FOR_SERVER: [HeaderName; 6] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
];

/// Of the server's, for the application: all but those that are about the connection, which is another.
const OF_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::SET_COOKIE,
];

pub(super) fn for_server(from: &HeaderMap) -> HeaderMap {
    from.iter()
        .filter(|(name, _)| FOR_SERVER.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(super) fn for_application(from: &HeaderMap) -> HeaderMap {
    from.iter()
        .filter(|(name, _)| !OF_CONNECTION.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
