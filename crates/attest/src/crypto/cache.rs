//! What was found about issuers once, so that it is not computed again (spec/attest.md §1.8). No verdict on evidence is among
//! it.
//!
//! *Signatures* over certificates and revocation lists: whether one over exact bytes by an exact key is valid does not depend
//! on time, so these do not expire. *Intel's collateral*, read, and signed under one root: it is taken only for the same
//! bytes and root, compared in full, and only until the earliest end of its dates. Dates, revocation, names, and everything
//! about a quote or report are looked at in each verification. What a machine signs is not remembered.

use core::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::{Scheme, sha256};
use crate::tdx::Published;

/// Entries unless said otherwise: 32 bytes twice each, so some 64 KiB. A machine needs two to eight of its own, and shares
/// the rest with its neighbours.
const DEFAULT_ENTRIES: usize = 1024;

/// Collaterals at most: a fleet has one for each kind of platform.
const MAX_COLLATERALS: usize = 32;

/// Longer collateral is not remembered: recorded ones have 25 KiB at most. Read, it takes about as much again, so that all
/// of them stay below 8 MiB.
const MAX_REMEMBERED: usize = 128 * 1024;

/// A bounded memory of what issuers signed, for those who verify often. The oldest entry is forgotten first.
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
    /// What [`crate::tdx`] found of collateral.
    pub(crate) collateral: Store<Published>,
}

/// What was made of exact bytes under an exact root.
#[derive(Debug)]
pub(crate) struct Store<T> {
    capacity: usize,
    oldest_first: Mutex<VecDeque<Remembered<T>>>,
}

#[derive(Debug)]
struct Remembered<T> {
    root: Box<[u8]>,
    bytes: Box<[u8]>,
    value: Arc<T>,
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
    /// Of 1024 signatures and 32 collaterals.
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_ENTRIES)
    }

    /// Of this many signatures, and as many collaterals, but not more than 32.
    pub fn with_capacity(entries: usize) -> Self {
        let collateral = Store::with_capacity(entries.min(MAX_COLLATERALS));
        Self { capacity: entries, entries: Mutex::default(), collateral }
    }

    /// That of the verification which runs on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
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

impl<T> Store<T> {
    fn with_capacity(capacity: usize) -> Self {
        Self { capacity, oldest_first: Mutex::default() }
    }

    /// What was made of these bytes under this root. Every byte of both is compared.
    pub(crate) fn find(&self, root: &[u8], bytes: &[u8]) -> Option<Arc<T>> {
        let entries = self.oldest_first.lock().ok()?;
        entries.iter().find(|entry| entry.is_of(root, bytes)).map(|entry| Arc::clone(&entry.value))
    }

    /// Takes the place of what was made of the same before.
    pub(crate) fn remember(&self, root: &[u8], bytes: &[u8], value: &Arc<T>) {
        let Ok(mut entries) = self.oldest_first.lock() else { return };
        if self.capacity == 0 || bytes.len() > MAX_REMEMBERED {
            return;
        }
        entries.retain(|entry| !entry.is_of(root, bytes));
        entries.push_back(Remembered { root: root.into(), bytes: bytes.into(), value: Arc::clone(value) });
        if entries.len() > self.capacity {
            entries.pop_front();
        }
    }
}

impl<T> Remembered<T> {
    fn is_of(&self, root: &[u8], bytes: &[u8]) -> bool {
        *self.root == *root && *self.bytes == *bytes
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
    let Some(cache) = IssuerCache::current() else { return verify() };
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

/// A DER SEQUENCE, as certificates and revocation lists are. Quotes and the reports of quoting enclaves are none.
fn is_by_an_issuer(message: &[u8]) -> bool {
    match message {
        [0x30, 0x81, length, rest @ ..] => usize::from(*length) == rest.len(),
        [0x30, 0x82, high, low, rest @ ..] => usize::from(u16::from_be_bytes([*high, *low])) == rest.len(),
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
        for message in [[4, 0, 2, 0, 0x81].as_slice(), &[0x30, 0x82, 0x00, 0x02, 0x05], b"", b"{}", &[0x30]] {
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
    fn what_was_made_of_bytes_is_found_by_all_of_them_and_by_the_root() {
        let store = Store::with_capacity(2);
        for (root, bytes, value) in [("r", "ab", 1), ("rb", "a", 2)] {
            store.remember(root.as_bytes(), bytes.as_bytes(), &Arc::new(value));
        }
        let find =
            |root: &str, bytes: &str| store.find(root.as_bytes(), bytes.as_bytes()).map(|found| *found);
        assert_eq!((find("r", "ab"), find("rb", "a")), (Some(1), Some(2)));
        for (root, bytes) in [("r", "a"), ("r", "abc"), ("", "rab"), ("ra", "b"), ("r", "aB")] {
            assert_eq!(find(root, bytes), None, "{root} {bytes}");
        }
        store.remember(b"r", b"ab", &Arc::new(3));
        store.remember(b"r", b"c", &Arc::new(4));
        assert_eq!(
            (find("rb", "a"), find("r", "ab"), find("r", "c")),
            (None, Some(3), Some(4)),
            "the oldest"
        );
    }

    #[test]
    fn what_is_too_long_is_not_remembered_nor_anything_without_room() {
        let store = Store::with_capacity(1);
        store.remember(b"r", &[0; MAX_REMEMBERED + 1], &Arc::new(()));
        assert!(store.find(b"r", &[0; MAX_REMEMBERED + 1]).is_none());
        store.remember(b"r", &[0; MAX_REMEMBERED], &Arc::new(()));
        assert!(store.find(b"r", &[0; MAX_REMEMBERED]).is_some());
        let none = Store::with_capacity(0);
        none.remember(b"r", b"a", &Arc::new(()));
        assert!(none.find(b"r", b"a").is_none());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let scheme = Scheme::RsaPssSha384;
        assert_ne!(entry(scheme, b"ab", b"c", b"d"), entry(scheme, b"a", b"bc", b"d"));
        assert_ne!(entry(scheme, b"ab", b"c", b"d"), entry(Scheme::RsaPkcs1Sha384, b"ab", b"c", b"d"));
    }
}
