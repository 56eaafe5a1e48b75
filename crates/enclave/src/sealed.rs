//! The keys of the sealed channel (spec/sealed-channel.md, OHT-02 and OHT-07): made here, known to nobody else, replaced before they are
//! old, and each good for a request once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use casemate_attest::UnixTime;
use casemate_protocol::sealed::{KeyPairs, Opened, SealedError, configuration_digest};
use zeroize::Zeroizing;

use crate::clock::Clock;

/// The keys of this replica, the newest and those that statements out there still name.
pub struct SealedKeys {
    clock: Clock,
    generations: Mutex<Vec<Arc<Generation>>>,
}

/// What the newest keys are, for a statement and its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// SHA-256 of the configurations.
    pub digest: [u8; 32],
    /// As `application/ohttp-keys`.
    pub configurations: Vec<u8>,
}

struct Generation {
    number: u8,
    pairs: KeyPairs,
    made: UnixTime,
    /// Since when there is a newer one.
    replaced: Mutex<Option<UnixTime>>,
    /// The beginnings of the identities of requests that were opened.
    seen: Mutex<HashSet<[u8; 16]>>,
}

/// Why a sealed request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// What is wrong with it.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// It was here before.
    #[error("this request was sent before")]
    Replayed,
    /// The key has opened as many as one may, and a newer one is there.
    #[error("key {id} has opened as many requests as one key may")]
    UsedUp {
        /// The key's number.
        id: u8,
    },
    /// The machine's clock is before 1970.
    #[error("the machine's clock is before 1970")]
    Clock,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

impl Unopened {
    /// The stable code of this error.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Sealed(error) => error.code(),
            Self::Replayed => "sealed.replayed",
            Self::UsedUp { .. } => "sealed.used-up",
            Self::Clock => "sealed.clock",
            Self::Randomness => "sealed.randomness",
        }
    }
}

impl SealedKeys {
    /// With keys of this moment.
    ///
    /// # Errors
    /// Without a time or random bytes.
    pub fn new(clock: Clock) -> Result<Self, Unopened> {
        let first = Generation::make(0, clock.now().ok_or(Unopened::Clock)?)?;
        Ok(Self { clock, generations: Mutex::new(vec![Arc::new(first)]) })
    }

    /// The newest keys, which this makes where the last ones are old or much used. Those whose time is over are forgotten here too, so
    /// that whoever states keys every minute also ends them.
    ///
    /// # Errors
    /// Without a time or random bytes.
    pub fn offered(&self) -> Result<Offered, Unopened> {
        let now = self.clock.now().ok_or(Unopened::Clock)?;
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.retain(|generation| !generation.over(now));
        let newest = match generations.last() {
            Some(newest) if !newest.due(now) => newest.clone(),
            before => {
                let number = before.map_or(0, |before| before.number.wrapping_add(1));
                let made = Arc::new(Generation::make(number, now)?);
                if let Some(before) = before {
                    *before.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                }
                generations.push(made.clone());
                made
            }
        };
        let configurations = newest.pairs.configurations().to_vec();
        Ok(Offered { digest: configuration_digest(&configurations), configurations })
    }

    /// Opens a request. Whatever was opened here once is not opened again.
    ///
    /// # Errors
    /// [`Unopened`]. Nothing of the request is kept or logged.
    pub fn open(&self, message: &[u8]) -> Result<Opened, Unopened> {
        let now = self.clock.now().ok_or(Unopened::Clock)?;
        let id = *message.first().ok_or(SealedError::Cut)?;
        let generation = {
            let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.iter().find(|one| one.pairs.has(id) && !one.over(now)).cloned()
        };
        let generation = generation.ok_or(SealedError::UnknownKey { id })?;
        let mut nonce = [0; 32];
        rand::fill(&mut nonce).map_err(|_| Unopened::Randomness)?;
        let opened = generation.pairs.open(message, &nonce)?;
        // Only what authenticates is remembered: strangers cannot fill this.
        let mut seen = generation.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let [beginning, _] = opened.identity.as_chunks::<16>().0 else { return Err(Unopened::Replayed) };
        if seen.contains(beginning) {
            return Err(Unopened::Replayed);
        }
        if seen.len() >= MOST_REQUESTS {
            return Err(Unopened::UsedUp { id });
        }
        seen.insert(*beginning);
        Ok(opened)
    }
}

impl Generation {
    fn make(number: u8, made: UnixTime) -> Result<Self, Unopened> {
        let mut seed = Zeroizing::new([0; 64]);
        rand::fill(seed.as_mut_slice()).map_err(|_| Unopened::Randomness)?;
        let pairs = KeyPairs::derive(number, &seed);
        Ok(Self { number, pairs, made, replaced: Mutex::default(), seen: Mutex::default() })
    }

    /// Whether newer keys are to take its place. A clock that went back makes keys old too.
    fn due(&self, now: UnixTime) -> bool {
        let age = now.0.checked_sub(self.made.0);
        let used = self.seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        age.is_none_or(|age| age >= LIFETIME) || used >= REPLACED_AFTER
    }

    /// Whether no statement that is good still names it.
    fn over(&self, now: UnixTime) -> bool {
        let replaced = *self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.is_some_and(|at| now.0.saturating_sub(at.0) >= OVERLAP)
    }
}

/// Keys are replaced after half a day.
const LIFETIME: u64 = 12 * 3600;
/// A statement names them for an hour; a document is made a minute ahead.
const OVERLAP: u64 = 3600 + 2 * 60;
/// Requests after which keys are replaced before their time: the memory of them stays small.
const REPLACED_AFTER: usize = 1 << 18;
/// Requests after which keys open no more.
const MOST_REQUESTS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use casemate_protocol::sealed::SealingKey;

    use super::*;

    fn keys(now: &Arc<AtomicU64>) -> SealedKeys {
        let now = now.clone();
        SealedKeys::new(Clock::new(move || Some(UnixTime(now.load(Ordering::SeqCst))))).unwrap()
    }

    fn sealed(offered: &Offered, seed: u8) -> Vec<u8> {
        let key = SealingKey::choose(&offered.configurations).unwrap();
        key.seal(b"a request", &Zeroizing::new([seed; 64])).unwrap().message
    }

    fn code(keys: &SealedKeys, message: &[u8]) -> &'static str {
        keys.open(message).err().map_or("none", Unopened::code)
    }

    /// OHT-07.
    #[test]
    fn a_request_is_opened_once() {
        let now = Arc::new(AtomicU64::new(1000));
        let (one, other) = (keys(&now), keys(&now));
        let message = sealed(&one.offered().unwrap(), 1);
        assert_eq!(code(&one, &message), "none");
        assert_eq!(code(&one, &message), "sealed.replayed");
        assert_eq!(code(&one, &sealed(&one.offered().unwrap(), 2)), "none");
        // Another replica's keys have the same numbers and open nothing of it.
        assert_eq!(code(&other, &message), "sealed.not-authentic");
        // What does not authenticate leaves no trace.
        let mut changed = sealed(&one.offered().unwrap(), 3);
        let whole = changed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(code(&one, &changed), "sealed.not-authentic");
        assert_eq!(code(&one, &whole), "none");
        assert_eq!(code(&one, &[]), "sealed.cut");
    }

    /// OHT-02.
    #[test]
    fn keys_are_replaced_and_the_older_ones_end() {
        let now = Arc::new(AtomicU64::new(1000));
        let keys = keys(&now);
        let first = keys.offered().unwrap();
        now.store(1000 + LIFETIME - 1, Ordering::SeqCst);
        assert_eq!(keys.offered().unwrap(), first);
        now.store(1000 + LIFETIME, Ordering::SeqCst);
        let second = keys.offered().unwrap();
        assert_ne!(second, first);
        assert_eq!(keys.offered().unwrap(), second);
        assert_eq!(code(&keys, &sealed(&first, 1)), "none");
        assert_eq!(code(&keys, &sealed(&first, 1)), "sealed.replayed");
        assert_eq!(code(&keys, &sealed(&second, 1)), "none");
        now.store(1000 + LIFETIME + OVERLAP - 1, Ordering::SeqCst);
        assert_eq!(code(&keys, &sealed(&first, 2)), "none");
        now.store(1000 + LIFETIME + OVERLAP, Ordering::SeqCst);
        assert_eq!(code(&keys, &sealed(&first, 3)), "sealed.unknown-key");
        assert_eq!(code(&keys, &sealed(&second, 3)), "none");
        keys.offered().unwrap();
        assert_eq!(keys.generations.lock().unwrap().len(), 1);
        // A clock that went back.
        now.store(5, Ordering::SeqCst);
        assert_ne!(keys.offered().unwrap(), second);
    }

    #[test]
    fn a_much_used_key_is_replaced_and_then_opens_no_more() {
        let now = Arc::new(AtomicU64::new(1000));
        let keys = keys(&now);
        let first = keys.offered().unwrap();
        let generation = keys.generations.lock().unwrap()[0].clone();
        let fill = |most: usize| {
            let mut seen = generation.seen.lock().unwrap();
            let from = seen.len();
            seen.extend((from..most).map(|n| (n as u128).to_le_bytes()));
        };
        fill(REPLACED_AFTER);
        assert_eq!(code(&keys, &sealed(&first, 1)), "none");
        assert_ne!(keys.offered().unwrap(), first);
        fill(MOST_REQUESTS);
        assert_eq!(code(&keys, &sealed(&first, 2)), "sealed.used-up");
        let none = SealedKeys::new(Clock::new(|| None));
        assert_eq!(none.err().map(Unopened::code), Some("sealed.clock"));
    }
}
