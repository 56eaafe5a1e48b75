//! Several addresses of one service: each with a verified server of its own (spec/proxy.md, PRX-08).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_attest::UnixTime;
use futures_util::Stream;

use crate::forward::{self, Answer, Request};
use crate::peer::{Peer, PeerError, PeerState, Verifier};
use crate::server::SendError;

/// Peers that answer alike, since one policy holds for all.
pub struct Pool {
    peers: Vec<Arc<Peer>>,
    next: AtomicUsize,
}

/// Why none of them answered.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The one that is named, and whichever others there are.
    #[error("{url}: {error}")]
    Peer {
        /// Its address.
        url: String,
        /// Why it is not verified.
        error: PeerError,
    },
    /// It was verified, and did not answer.
    #[error("{url}: {error}")]
    Send {
        /// Its address.
        url: String,
        /// What happened.
        error: SendError,
    },
    /// There are none.
    #[error("no server is configured")]
    Empty,
}

impl Pool {
    /// Of these addresses.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>, verifier: &Arc<Verifier>) -> Self {
        let peers = urls.into_iter().map(|url| Arc::new(Peer::new(url, verifier.clone()))).collect();
        Self { peers, next: AtomicUsize::new(0) }
    }

    /// The time by the clock of its verifications.
    pub(crate) fn clock(&self) -> Option<UnixTime> {
        (self.peers.first()?.verifier().clock)()
    }

    /// The peers.
    pub fn peers(&self) -> &[Arc<Peer>] {
        &self.peers
    }

    /// Sends to one of them: those that are verified come first, each in its turn. Another one is asked only where nothing was
    /// answered; one whose connection broke is verified anew and asked once more, because it may have begun again with another key.
    ///
    /// # Errors
    /// What happened at the last one, but what is more than silence before that.
    pub async fn send(
        &self,
        request: &Request,
    ) -> Result<Answer<impl Stream<Item = io::Result<bytes::Bytes>> + Send + use<>>, PoolError> {
        let mut failure = PoolError::Empty;
        for peer in self.in_turn() {
            for _ in 0..ATTEMPTS {
                let session = match peer.session().await {
                    Ok(session) => session,
                    Err(error) => {
                        failure = failure.or_worse(PoolError::Peer { url: peer.url().to_owned(), error });
                        break;
                    }
                };
                match forward::send(session.clone(), peer.verifier().clone(), request).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        peer.forget(&session);
                        failure = failure.or_worse(PoolError::Send { url: peer.url().to_owned(), error });
                    }
                }
            }
        }
        Err(failure)
    }

    fn in_turn(&self) -> Vec<Arc<Peer>> {
        let mut peers = self.peers.clone();
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(peers.len());
        peers.rotate_left(turn.unwrap_or(0));
        peers.sort_by_key(|peer| !matches!(peer.state(), PeerState::Verified { .. }));
        peers
    }
}

impl PoolError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Peer { error, .. } => error.code(),
            Self::Send { error, .. } => error.code(),
            Self::Empty => "proxy.no-server",
        }
    }

    /// Whether nobody answered, rather than somebody whom the policy refuses.
    pub fn unreachable(&self) -> bool {
        match self {
            Self::Peer { error, .. } => error.unreachable(),
            Self::Send {
                error: SendError::NotSealed { .. } | SendError::Sealed(_) | SendError::Randomness,
                ..
            } => false,
            Self::Send { .. } => true,
            Self::Empty => false,
        }
    }

    /// Who does not verify is told before who does not answer.
    fn or_worse(self, later: Self) -> Self {
        let refusal = matches!(self, Self::Peer { .. }) && !self.unreachable();
        if refusal { self } else { later }
    }
}

const ATTEMPTS: usize = 2;
