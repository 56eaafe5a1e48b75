//! Any request to a verified server, and its answer as it comes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use casemate_attest::UnixTime;
use casemate_protocol::Plaintext;
use futures_util::{Stream, stream};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use crate::peer::{Session, Verifier};
use crate::server::SendError;

/// A request of an application. It may be sent more than once, each time whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers that are for the server.
    pub headers: HeaderMap,
    /// The body.
    pub body: Arc<Plaintext<Vec<u8>>>,
}

/// The beginning of an answer, and what follows it.
pub struct Answer<B> {
    /// The status.
    pub status: StatusCode,
    /// The server's headers, all of them.
    pub headers: HeaderMap,
    /// Whose answer it is.
    pub session: Arc<Session>,
    /// The body. An error is an answer that was cut, whatever cut it.
    pub body: B,
}

/// Sends `request` to the session's server and waits for the beginning of its answer.
///
/// # Errors
/// [`SendError::Expired`] where the session has ended, [`SendError::Broken`] where nothing was answered.
pub async fn send(
    session: Arc<Session>,
    verifier: Arc<Verifier>,
    request: &Request,
) -> Result<Answer<impl Stream<Item = io::Result<bytes::Bytes>> + Send + use<>>, SendError> {
    let now = (verifier.clock)().unwrap_or(UnixTime(u64::MAX));
    let server = session.server();
    let sending =
        server.request(request.method.clone(), &request.target, &request.headers, request.body.clone(), now);
    let (status, headers, arriving) = sending.await?;
    let of = session.clone();
    let body = stream::unfold(Some((arriving, session, verifier)), |state| async move {
        let (mut arriving, session, verifier) = state?;
        loop {
            let now = (verifier.clock)().unwrap_or(UnixTime(u64::MAX));
            let left = session.valid_until().0.saturating_sub(now.0);
            if left == 0 {
                let ended = io::Error::other("the server's evidence ran out before its answer did");
                return Some((Err(ended), None));
            }
            // The deadline moves when the session is renewed, and a clock may jump: both are looked at again.
            match timeout(Duration::from_secs(left.min(LONGEST_WAIT)), arriving.next()).await {
                Err(_) => {}
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(chunk))) => return Some((Ok(chunk), Some((arriving, session, verifier)))),
                Ok(Err(error)) => return Some((Err(error), None)),
            }
        }
    });
    let body = Box::pin(body);
    Ok(Answer { status, headers, session: of, body })
}

/// Renews the sessions of these peers ahead of their ends, for as long as it is polled.
pub async fn keep_renewed(peers: &[Arc<crate::peer::Peer>]) {
    loop {
        for peer in peers {
            peer.renew().await;
        }
        sleep(RENEWAL_STEP).await;
    }
}

/// Seconds.
const LONGEST_WAIT: u64 = 30;
const RENEWAL_STEP: Duration = Duration::from_secs(10);
