//! The sessions of RCAR: from a challenge to attested evidence, each for five minutes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aws_lc_rs::digest;
use casemate_attest::UnixTime;
use casemate_protocol::additional::AttestedComposite;
use casemate_protocol::kbs::TeePubKey;

/// How long a session, and after attestation its token, lasts: seconds.
pub const SESSION_SECONDS: u64 = 300;
/// How many sessions there are at most. One more pushes out the one that ends first, so strangers cannot use up memory.
pub const MAX_SESSIONS: usize = 4096;

/// A session's name: 16 random bytes, 32 hex digits in the cookie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId([u8; 16]);

/// A machine whose evidence, with that of what stands beside its processor, is genuine, meets the baseline and binds `tee_pubkey`.
pub(crate) struct Attested {
    pub(crate) composite: AttestedComposite,
    /// The key that the evidence binds, and the only one to which a secret is encrypted.
    pub(crate) tee_pubkey: TeePubKey,
    /// The attestation result.
    pub(crate) token: String,
    /// SHA-256 of the report as it arrived.
    pub(crate) evidence_sha256: [u8; 32],
    /// SHA-256 of the request that was attested: the same request again gets the same answer.
    pub(crate) request_sha256: [u8; 32],
}

/// What [`Sessions::take`] found.
pub(crate) enum Taken {
    /// An unused challenge. It is used now.
    Challenge {
        nonce: String,
    },
    Attested(Arc<Attested>),
}

/// Why there is no session to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionFault {
    /// Never opened, used up by a failed attestation, or pushed out.
    Unknown,
    /// Its five minutes are over.
    Expired,
    /// No evidence was presented yet.
    NotAttested,
}

/// All sessions. Not more than [`MAX_SESSIONS`].
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: HashMap<SessionId, Session>,
    by_token: HashMap<[u8; 32], SessionId>,
    by_end: BTreeSet<(UnixTime, SessionId)>,
}

struct Session {
    end: UnixTime,
    state: State,
}

enum State {
    Challenged { nonce: String },
    Attested(Arc<Attested>),
}

// === impl SessionId ===

impl SessionId {
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads the cookie's value: 32 lower-case hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (hex::encode(bytes) == text).then_some(Self(bytes))
    }

    pub(crate) fn to_text(self) -> String {
        hex::encode(self.0)
    }

    /// A name for logs that opens nothing: the first 8 bytes of the SHA-256.
    pub(crate) fn log_name(self) -> [u8; 8] {
        let mut name = [0; 8];
        name.iter_mut()
            .zip(digest::digest(&digest::SHA256, &self.0).as_ref())
            .for_each(|(to, from)| *to = *from);
        name
    }
}

// === impl Sessions ===

impl Sessions {
    /// Opens a session with a challenge and returns when it ends.
    pub(crate) fn open(&mut self, id: SessionId, nonce: String, now: UnixTime) -> UnixTime {
        let end = after(now);
        self.insert(id, Session { end, state: State::Challenged { nonce } }, now);
        end
    }

    /// The session's challenge, which is thereby used up: whatever comes of it, nobody gets it again.
    pub(crate) fn take(&mut self, id: SessionId, now: UnixTime) -> Result<Taken, SessionFault> {
        match self.live(id, now)? {
            State::Attested(attested) => Ok(Taken::Attested(Arc::clone(attested))),
            State::Challenged { nonce } => {
                let nonce = nonce.clone();
                self.remove(id);
                Ok(Taken::Challenge { nonce })
            }
        }
    }

    /// Puts a session back after its evidence was accepted, until its token ends.
    pub(crate) fn attested(&mut self, id: SessionId, attested: Arc<Attested>, now: UnixTime) {
        let token = token_name(&attested.token);
        self.insert(id, Session { end: after(now), state: State::Attested(attested) }, now);
        self.by_token.insert(token, id);
    }

    /// The attested machine behind a cookie.
    pub(crate) fn by_cookie(&mut self, id: SessionId, now: UnixTime) -> Result<Arc<Attested>, SessionFault> {
        match self.live(id, now)? {
            State::Attested(attested) => Ok(Arc::clone(attested)),
            State::Challenged { .. } => Err(SessionFault::NotAttested),
        }
    }

    /// The attested machine behind a token, and its session. Only tokens that this broker handed out and that have
    /// not ended are found: nothing in a bearer token is ever parsed.
    pub(crate) fn by_token(
        &mut self,
        token: &str,
        now: UnixTime,
    ) -> Result<(SessionId, Arc<Attested>), SessionFault> {
        let id = *self.by_token.get(&token_name(token)).ok_or(SessionFault::Unknown)?;
        Ok((id, self.by_cookie(id, now)?))
    }

    fn live(&mut self, id: SessionId, now: UnixTime) -> Result<&State, SessionFault> {
        let end = self.by_id.get(&id).ok_or(SessionFault::Unknown)?.end;
        if now >= end {
            self.remove(id);
            return Err(SessionFault::Expired);
        }
        self.by_id.get(&id).map(|session| &session.state).ok_or(SessionFault::Unknown)
    }

    fn insert(&mut self, id: SessionId, session: Session, now: UnixTime) {
        self.remove(id);
        while let Some(&(end, oldest)) = self.by_end.first() {
            if now < end {
                break;
            }
            self.remove(oldest);
        }
        while self.by_id.len() >= MAX_SESSIONS {
            // A session that was only opened costs a stranger nothing: it goes before one that was attested.
            let opened = |(_, id): &&(UnixTime, SessionId)| {
                !matches!(self.by_id.get(id).map(|session| &session.state), Some(State::Attested(_)))
            };
            let Some(&(_, victim)) = self.by_end.iter().find(opened).or_else(|| self.by_end.first()) else {
                break;
            };
            self.remove(victim);
        }
        self.by_end.insert((session.end, id));
        self.by_id.insert(id, session);
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = self.by_id.remove(&id) else { return };
        self.by_end.remove(&(session.end, id));
        if let State::Attested(attested) = session.state {
            self.by_token.remove(&token_name(&attested.token));
        }
    }
}

fn after(now: UnixTime) -> UnixTime {
    UnixTime(now.0.saturating_add(SESSION_SECONDS))
}

fn token_name(token: &str) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SessionId(bytes)
    }

    fn size(sessions: &Sessions) -> (usize, usize, usize) {
        (sessions.by_id.len(), sessions.by_end.len(), sessions.by_token.len())
    }

    #[test]
    fn a_challenge_is_used_once() {
        let mut sessions = Sessions::default();
        sessions.open(id(1), "nonce".into(), UnixTime(100));
        assert!(matches!(sessions.by_cookie(id(1), UnixTime(100)), Err(SessionFault::NotAttested)));
        assert!(
            matches!(sessions.take(id(1), UnixTime(100)), Ok(Taken::Challenge { nonce }) if nonce == "nonce")
        );
        assert!(matches!(sessions.take(id(1), UnixTime(100)), Err(SessionFault::Unknown)));
        assert_eq!(size(&sessions), (0, 0, 0));
    }

    #[test]
    fn a_session_ends_after_five_minutes() {
        let mut sessions = Sessions::default();
        sessions.open(id(1), "a".into(), UnixTime(100));
        sessions.open(id(2), "b".into(), UnixTime(100));
        assert!(sessions.take(id(1), UnixTime(399)).is_ok());
        assert!(matches!(sessions.take(id(2), UnixTime(400)), Err(SessionFault::Expired)));
        assert_eq!(size(&sessions), (0, 0, 0));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let mut sessions = Sessions::default();
        for n in 0..=u32::try_from(MAX_SESSIONS).unwrap() {
            sessions.open(id(n), String::new(), UnixTime(u64::from(n / 1000)));
        }
        assert_eq!(size(&sessions), (MAX_SESSIONS, MAX_SESSIONS, 0));
        assert!(matches!(sessions.take(id(0), UnixTime(4)), Err(SessionFault::Unknown)));
        assert!(sessions.take(id(1), UnixTime(4)).is_ok());
        // All of them have ended at 1000; the next one sweeps them out.
        sessions.open(id(9999), String::new(), UnixTime(1000));
        assert_eq!(size(&sessions), (1, 1, 0));
    }

    #[test]
    fn a_session_name_has_one_spelling() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(SessionId::parse(text).unwrap().to_text(), text);
        for wrong in
            ["", "00", &text.to_uppercase(), &format!("{text}00"), "zz112233445566778899aabbccddeeff"]
        {
            assert!(SessionId::parse(wrong).is_none(), "{wrong}");
        }
    }
}
