//! A server that stays verified: on first use, until its deadline, and renewed ahead of it (spec/proxy.md, PRX-03 to PRX-07).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use casemate_attest::UnixTime;

use crate::policy::ClientPolicy;
use crate::server::{Anchors, ConnectError, ConnectFailure, VerifiedServer, connect};
use crate::via::Via;

/// What every verification needs.
pub struct Verifier {
    /// What servers must be.
    pub policy: ClientPolicy,
    /// Whom to believe.
    pub anchors: Anchors,
    /// How requests reach them.
    pub via: Via,
    /// The time; `None` where the machine's clock tells none.
    pub clock: Box<dyn Fn() -> Option<UnixTime> + Send + Sync>,
}

/// One address, and the server that was verified behind it, if there is one.
pub struct Peer {
    url: String,
    verifier: Arc<Verifier>,
    /// One verification at a time: those who come meanwhile get its result.
    verifying: tokio::sync::Mutex<()>,
    current: RwLock<Option<Arc<Session>>>,
    failed: Mutex<Option<(Instant, Arc<ConnectFailure>)>>,
}

/// A verified server, for as long as its evidence and whatever renewed it are good.
pub struct Session {
    server: VerifiedServer,
    /// Of this TLS key. A renewal that finds the same key moves it for streams that are under way.
    deadline: Arc<AtomicU64>,
    began: UnixTime,
    used: AtomicBool,
}

/// Why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// The server did not verify, or cannot be reached.
    #[error("{0}")]
    NotVerified(Arc<ConnectFailure>),
    /// The machine's clock is before 1970: nothing can be verified.
    #[error("this machine's clock is before 1970")]
    Clock,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// How a peer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerState {
    /// Nobody asked for it yet, or its deadline passed meanwhile.
    Unverified,
    /// Verified.
    Verified {
        /// The moment after which nothing more is sent without another verification.
        valid_until: UnixTime,
        /// Whether its hardware is simulated.
        simulated: bool,
    },
    /// The last attempt failed, with this code.
    Failed {
        /// The stable code.
        code: &'static str,
    },
}

// === impl Peer ===

impl Peer {
    /// Of this address. Nobody is asked.
    pub fn new(url: &str, verifier: Arc<Verifier>) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            verifier,
            verifying: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            failed: Mutex::default(),
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The verified server: the one that is there, or, after a verification, a new one.
    ///
    /// # Errors
    /// [`PeerError`]. A failure is told again, without another attempt, for [`FAILURE_KEPT`].
    pub async fn session(&self) -> Result<Arc<Session>, PeerError> {
        let now = self.now()?;
        if let Some(session) = self.current(now) {
            return Ok(session);
        }
        let _turn = self.verifying.lock().await;
        // Somebody may have been first.
        if let Some(session) = self.current(now) {
            return Ok(session);
        }
        if let Some(failure) = self.recent_failure() {
            return Err(PeerError::NotVerified(failure));
        }
        self.verify(None).await
    }

    /// Verifies again where a session is used and two thirds of its time are over. What fails for want of an answer leaves it until its
    /// deadline; a server that does not verify any more is none from now on (PRX-06).
    pub async fn renew(&self) {
        let Ok(now) = self.now() else { return };
        let Some(session) = self.current(now) else { return };
        if now < session.renewal() || !session.used.load(Ordering::Relaxed) {
            return;
        }
        let _turn = self.verifying.lock().await;
        if let Err(PeerError::NotVerified(failure)) = self.verify(Some(&session)).await
            && !matches!(*failure.error, ConnectError::Unreachable { .. } | ConnectError::NoDocument { .. })
        {
            self.forget(&session);
        }
    }

    /// This session leads nowhere any more: the next request verifies anew.
    pub fn forget(&self, session: &Arc<Session>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *current = None;
        }
    }

    /// How it stands.
    pub fn state(&self) -> PeerState {
        let session = self.now().ok().and_then(|now| self.current(now));
        if let Some(session) = session {
            let simulated = session.server.evidence().simulated();
            return PeerState::Verified { valid_until: session.valid_until(), simulated };
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some((_, failure)) => PeerState::Failed { code: failure.error.code() },
            None => PeerState::Unverified,
        }
    }

    async fn verify(&self, before: Option<&Session>) -> Result<Arc<Session>, PeerError> {
        let now = self.now()?;
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| PeerError::Randomness)?;
        let Verifier { policy, anchors, via, .. } = &*self.verifier;
        match connect(&self.url, *via, policy, anchors, nonce, now).await {
            Ok(server) => {
                let session = Arc::new(Session::new(server, now, before));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let valid_until = session.valid_until().0;
                tracing::info!(server = self.url, valid_until, "verified");
                Ok(session)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                tracing::warn!(server = self.url, code = failure.error.code(), "not verified: {failure}");
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), failure.clone()));
                Err(PeerError::NotVerified(failure))
            }
        }
    }

    fn current(&self, now: UnixTime) -> Option<Arc<Session>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone().filter(|session| now < session.valid_until())
    }

    fn recent_failure(&self) -> Option<Arc<ConnectFailure>> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_KEPT).map(|(_, failure)| failure.clone())
    }

    fn now(&self) -> Result<UnixTime, PeerError> {
        (self.verifier.clock)().ok_or(PeerError::Clock)
    }

    /// The time that its sessions are held against.
    pub(crate) fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }
}

// === impl Session ===

impl Session {
    /// Streams under way on the session `before` go on where this one ends at the same TLS key: its evidence is fresh.
    fn new(server: VerifiedServer, now: UnixTime, before: Option<&Self>) -> Self {
        let until = server.valid_until().0;
        let same = before.filter(|before| before.server.key_sha256() == server.key_sha256());
        let deadline = match same {
            Some(before) => before.deadline.clone(),
            None => Arc::default(),
        };
        deadline.store(until, Ordering::SeqCst);
        Self { server, deadline, began: now, used: AtomicBool::new(false) }
    }

    /// The verified server. Whoever asks for it uses it, so that it is renewed.
    pub fn server(&self) -> &VerifiedServer {
        self.used.store(true, Ordering::Relaxed);
        &self.server
    }

    /// The moment after which nothing more is sent or read.
    pub fn valid_until(&self) -> UnixTime {
        UnixTime(self.deadline.load(Ordering::SeqCst))
    }

    /// When two thirds of its time are over.
    fn renewal(&self) -> UnixTime {
        let whole = self.valid_until().0.saturating_sub(self.began.0);
        UnixTime(self.valid_until().0.saturating_sub(whole / 3))
    }
}

// === impl PeerError ===

impl PeerError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotVerified(failure) => failure.error.code(),
            Self::Clock => "proxy.clock",
            Self::Randomness => "proxy.randomness",
        }
    }

    /// Whether it is only that nobody answers.
    pub(crate) fn unreachable(&self) -> bool {
        matches!(self, Self::NotVerified(failure) if matches!(*failure.error, ConnectError::Unreachable { .. }))
    }
}

/// For how long a failed verification stands: a crowd of requests asks a server once, and not each for itself.
pub const FAILURE_KEPT: Duration = Duration::from_secs(1);
