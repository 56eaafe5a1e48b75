//! Signatures by issuers that were found valid once, so that they are not computed again.
//!
//! Whether a signature over exact bytes by an exact key is valid does not depend on time, so nothing here expires; dates,
//! revocation, names and every other rule are looked at in each verification. What an issuer signs is remembered:
//! certificates, revocation lists, TCB info, QE identity. What a machine signs is not, and no verdict is.

use core::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::{Scheme, sha256};

/// Entries unless said otherwise: 32 bytes twice each, so some 64 KiB. A machine needs two to eight of its own, and shares
/// the rest with its neighbours.
const DEFAULT_ENTRIES: usize = 1024;

/// A bounded memory of valid issuer signatures, for those who verify often. The oldest entry is forgotten first.
///
/// ```
/// use std::sync::Arc;
/// use casemate_attest::{Authentic, Endorsements, Evidence, IssuerCache, Rejected, TrustAnchors, UnixTime, verify};
///
/// fn faster(
///     cache: &Arc<IssuerCache>,
///     evidence: &Evidence,
///     endorsements: &Endorsements,
///     now: UnixTime,
/// ) -> Result<Authentic, Rejected> {
///     cache.during(|| verify(evidence, endorsements, &TrustAnchors::vendors(), now))
/// }
/// ```
#[derive(Debug)]
pub struct IssuerCache {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    known: HashSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
}

/// While it lives, this thread's verifications use the cache.
struct Remembering {
    before: Option<Arc<IssuerCache>>,
}

thread_local! {
    /// The cache of the verification that runs on this thread. Libraries call the algorithms of `certificates`, which are
    /// constants, so it cannot be an argument.
    static CURRENT: RefCell<Option<Arc<IssuerCache>>> = const { RefCell::new(None) };
}

impl IssuerCache {
    /// Of 1024 signatures.
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_ENTRIES)
    }

    /// Of this many signatures.
    pub fn with_capacity(entries: usize) -> Self {
        Self { capacity: entries, entries: Mutex::default() }
    }

    /// Uses the cache for every verification that this makes on this thread. The verdict is the same as without.
    pub fn during<T>(self: &Arc<Self>, verification: impl FnOnce() -> T) -> T {
        let _until_here = remembering(Some(Arc::clone(self)));
        verification()
    }

    /// How many signatures are remembered.
    pub fn len(&self) -> usize {
        self.entries.lock().map_or(0, |entries| entries.known.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn knows(&self, entry: &[u8; 32]) -> bool {
        self.entries.lock().is_ok_and(|entries| entries.known.contains(entry))
    }

    fn remember(&self, entry: [u8; 32]) {
        let Ok(mut entries) = self.entries.lock() else { return };
        if self.capacity == 0 || !entries.known.insert(entry) {
            return;
        }
        entries.oldest_first.push_back(entry);
        if entries.oldest_first.len() > self.capacity
            && let Some(oldest) = entries.oldest_first.pop_front()
        {
            entries.known.remove(&oldest);
        }
    }
}

impl Default for IssuerCache {
    fn default() -> Self {
        Self::new()
    }
}

fn remembering(cache: Option<Arc<IssuerCache>>) -> Remembering {
    Remembering { before: CURRENT.replace(cache) }
}

impl Drop for Remembering {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// What `verify` says, computed at most once where an issuer signed and the answer was yes.
pub(super) fn once(
    scheme: Scheme,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    verify: impl FnOnce() -> bool,
) -> bool {
    let Some(cache) = CURRENT.with_borrow(Option::clone) else { return verify() };
    if !is_by_an_issuer(message) {
        return verify();
    }
    let entry = entry(scheme, key, message, signature);
    if cache.knows(&entry) {
        return true;
    }
    let valid = verify();
    if valid {
        cache.remember(entry);
    }
    valid
}

/// A DER SEQUENCE, as certificates and revocation lists are, or a JSON object, as Intel's collateral is. Quotes and the
/// reports of quoting enclaves are neither.
fn is_by_an_issuer(message: &[u8]) -> bool {
    match message {
        [0x30, 0x81, length, rest @ ..] => usize::from(*length) == rest.len(),
        [0x30, 0x82, high, low, rest @ ..] => usize::from(u16::from_be_bytes([*high, *low])) == rest.len(),
        [b'{', .., b'}'] => true,
        _ => false,
    }
}

/// A digest of everything that the answer depends on. Lengths stand first, so that no two inputs read alike.
fn entry(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> [u8; 32] {
    let mut input = vec![scheme as u8];
    for part in [key, signature, message] {
        input.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        input.extend_from_slice(part);
    }
    sha256(&input)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = &[0x30, 0x82, 0x00, 0x01, 0x05];
    /// Intel's root has few entries: its list is shorter than 256 octets.
    const SHORT_LIST: &[u8] = &{
        let mut list = [0; 131];
        list[0] = 0x30;
        list[1] = 0x81;
        list[2] = 0x80;
        list
    };

    fn ask(message: &[u8], signature: &[u8], answer: bool) -> (bool, bool) {
        let mut asked = false;
        let valid = once(Scheme::EcdsaP384Sha384, b"key", message, signature, || {
            asked = true;
            answer
        });
        (valid, asked)
    }

    #[test]
    fn only_yes_is_remembered_and_only_for_the_same_bytes() {
        let cache = Arc::new(IssuerCache::new());
        let _remembering = remembering(Some(Arc::clone(&cache)));
        assert_eq!(ask(CERTIFICATE, b"s", false), (false, true));
        assert_eq!(ask(CERTIFICATE, b"s", true), (true, true));
        assert_eq!(ask(CERTIFICATE, b"s", false), (true, false));
        assert_eq!(ask(CERTIFICATE, b"t", false), (false, true));
        assert_eq!(cache.len(), 1);
        assert_eq!(ask(SHORT_LIST, b"s", true), (true, true));
        assert_eq!(ask(SHORT_LIST, b"s", false), (true, false));
    }

    #[test]
    fn what_a_machine_signs_is_not_remembered() {
        let cache = Arc::new(IssuerCache::new());
        let _remembering = remembering(Some(Arc::clone(&cache)));
        // A quote's header, and a SEQUENCE that is not the whole message.
        for message in [[4, 0, 2, 0, 0x81].as_slice(), &[0x30, 0x82, 0x00, 0x02, 0x05], b"", b"{", &[0x30]] {
            assert_eq!(ask(message, b"s", true), (true, true));
            assert_eq!(ask(message, b"s", false), (false, true));
        }
        assert!(cache.is_empty());
    }

    #[test]
    fn without_a_cache_and_after_it_every_signature_is_computed() {
        let cache = Arc::new(IssuerCache::new());
        {
            let _remembering = remembering(Some(Arc::clone(&cache)));
            assert_eq!(ask(CERTIFICATE, b"s", true), (true, true));
            let _nested = remembering(None);
            assert_eq!(ask(CERTIFICATE, b"s", false), (false, true));
        }
        assert_eq!(ask(CERTIFICATE, b"s", false), (false, true));
    }

    #[test]
    fn the_oldest_entry_goes_first() {
        let cache = Arc::new(IssuerCache::with_capacity(2));
        let _remembering = remembering(Some(Arc::clone(&cache)));
        for signature in [b"1", b"2", b"3"] {
            assert_eq!(ask(CERTIFICATE, signature, true), (true, true));
        }
        assert_eq!(cache.len(), 2);
        assert_eq!(ask(CERTIFICATE, b"3", false), (true, false));
        assert_eq!(ask(CERTIFICATE, b"1", false), (false, true));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let scheme = Scheme::RsaPssSha384;
        assert_ne!(entry(scheme, b"ab", b"c", b"d"), entry(scheme, b"a", b"bc", b"d"));
        assert_ne!(entry(scheme, b"ab", b"c", b"d"), entry(Scheme::RsaPkcs1Sha384, b"ab", b"c", b"d"));
    }
}
