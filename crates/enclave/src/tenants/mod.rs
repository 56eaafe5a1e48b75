//! Who may ask, and how much (spec/serving.md, section 4).
//!
//! A tenant has keys, of which the server's file holds only the SHA-256: a key has 256 random bits, so that its hash cannot be
//! tried out. What a tenant may use is written in the file, nothing is left to a default.

mod file;
mod usage;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use casemate_attest::UnixTime;
use casemate_engine::Tenant;

pub use file::{ApiKeyEntry, ApiKeysFile, KeysError, NewKey, TenantEntry, TenantLimits};
pub use usage::Busy;
pub(crate) use usage::Visit;
use usage::Visitor;
pub(crate) use watch::watch;

/// All tenants of a server.
pub struct Tenants {
    /// This boot's own: tenants' names inside are derived from it (SRV-32).
    secret: hmac::Key,
    current: RwLock<Current>,
    reloads: Mutex<Reloads>,
}

/// Who is let in now; replaced as a whole.
struct Current {
    /// By the SHA-256 of the key.
    keys: BTreeMap<[u8; 32], Key>,
    /// By name.
    visitors: BTreeMap<String, Arc<Visitor>>,
}

/// How often the keys were read anew.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reloads {
    /// With success.
    pub done: u64,
    /// Without.
    pub failed: u64,
    /// Whether the newest attempt failed.
    pub stale: bool,
}

struct Key {
    /// The last second at which it is good; `None` is for ever.
    not_after: Option<UnixTime>,
    tenant: Arc<Visitor>,
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The key is nobody's.
    Unknown,
    /// It was somebody's.
    Expired,
    /// The tenant uses as much as it may.
    Busy(Busy),
}

impl Tenants {
    /// The tenants of a file. `secret` is this boot's own.
    #[must_use]
    pub fn new(file: &ApiKeysFile, secret: [u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let current = current(file, &secret, &BTreeMap::new());
        Self { secret, current: RwLock::new(current), reloads: Mutex::default() }
    }

    /// Lets in whom another file names, from now on. A tenant of the same name stays the same: what it uses and has used counts on,
    /// and what was computed for it is its own. Requests that run go on.
    pub fn replace(&self, file: &ApiKeysFile) {
        let visitors = self.current.read().unwrap_or_else(PoisonError::into_inner).visitors.clone();
        let next = current(file, &self.secret, &visitors);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Reads the file at `path` and lets in whom it names; on any error everything stays as it was (SRV-57).
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn reload(&self, path: &Path) -> Result<(), KeysError> {
        let read = ApiKeysFile::read(path);
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        reloads.stale = read.is_err();
        match read {
            Ok(file) => {
                self.replace(&file);
                reloads.done = reloads.done.saturating_add(1);
                Ok(())
            }
            Err(error) => {
                reloads.failed = reloads.failed.saturating_add(1);
                Err(error)
            }
        }
    }

    /// How often the keys were read anew.
    #[must_use]
    pub fn reloads(&self) -> Reloads {
        *self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the owner of `key` in, for one request.
    pub(crate) fn enter(&self, key: &str, now: UnixTime) -> Result<Visit, Refused> {
        let hash = digest(&SHA256, key.as_bytes());
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let key = hash.as_ref().try_into().ok().and_then(|hash: [u8; 32]| current.keys.get(&hash));
        let key = key.ok_or(Refused::Unknown)?;
        if key.not_after.is_some_and(|not_after| now > not_after) {
            return Err(Refused::Expired);
        }
        key.tenant.enter(now).map_err(Refused::Busy)
    }
}

/// The tenants of a file, of which those that are in `known` are the same as there.
fn current(file: &ApiKeysFile, secret: &hmac::Key, known: &BTreeMap<String, Arc<Visitor>>) -> Current {
    let (mut keys, mut visitors) = (BTreeMap::new(), BTreeMap::new());
    for entry in &file.tenants {
        let visitor = known.get(&entry.name).map(Arc::clone).unwrap_or_else(|| {
            let mut name = [0; 32];
            for (to, from) in name.iter_mut().zip(hmac::sign(secret, entry.name.as_bytes()).as_ref()) {
                *to = *from;
            }
            Arc::new(Visitor::new(&entry.name, Tenant(name), entry.limits))
        });
        visitor.limit(entry.limits);
        for key in &entry.keys {
            let (not_after, tenant) = (key.not_after.map(UnixTime), Arc::clone(&visitor));
            keys.insert(key.sha256, Key { not_after, tenant });
        }
        visitors.insert(entry.name.clone(), visitor);
    }
    Current { keys, visitors }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn file() -> (ApiKeysFile, String, String, String) {
        let mut file = ApiKeysFile::default();
        let limits = TenantLimits { concurrent: Some(2), ..TenantLimits::NONE };
        let a = file.add("a", limits, None, [1; 32]).unwrap().key;
        let other = file.add("a", limits, Some(NOW.0), [2; 32]).unwrap().key;
        let b = file.add("b", TenantLimits::NONE, None, [3; 32]).unwrap().key;
        (file, a, other, b)
    }

    #[test]
    fn keys_open_for_their_tenant_only() {
        let (file, a, other, b) = file();
        let tenants = Tenants::new(&file, [7; 32]);
        let enter = |key: &str, now| tenants.enter(key, now).map(|visit| visit.tenant());
        let name = enter(&a, NOW).unwrap();
        assert_eq!(enter(&other, NOW), Ok(name), "the same tenant");
        assert_ne!(enter(&b, NOW), Ok(name));
        assert_eq!(enter(&other, UnixTime(NOW.0 + 1)), Err(Refused::Expired));
        for wrong in ["", "a", &a[1..], &format!("{a} "), &hex::encode(file.tenants[0].keys[0].sha256)] {
            assert_eq!(enter(wrong, NOW), Err(Refused::Unknown), "{wrong}");
        }
        // Another boot has other names.
        assert_ne!(Tenants::new(&file, [8; 32]).enter(&a, NOW).unwrap().tenant(), name);
    }

    #[test]
    fn another_file_changes_who_is_let_in_and_what_they_may_use() {
        let (file, a, other, b) = file();
        let tenants = Tenants::new(&file, [7; 32]);
        let running = tenants.enter(&a, NOW).unwrap();
        let name = running.tenant();
        let mut next = file.clone();
        next.revoke(&file.tenants[0].keys[1].id).unwrap();
        next.tenants[0].limits.concurrent = Some(1);
        next.tenants.remove(1);
        let c = next.add("c", TenantLimits::NONE, None, [4; 32]).unwrap().key;
        tenants.replace(&next);
        for gone in [&other, &b] {
            assert_eq!(tenants.enter(gone, NOW).err(), Some(Refused::Unknown));
        }
        assert!(tenants.enter(&c, NOW).is_ok());
        // The request that runs counts on, under the new limit.
        assert_eq!(tenants.enter(&a, NOW).err(), Some(Refused::Busy(Busy::Concurrent { limit: 1 })));
        drop(running);
        assert_eq!(tenants.enter(&a, NOW).unwrap().tenant(), name, "the same tenant as before");
    }

    #[test]
    fn a_file_that_is_not_usable_changes_nothing() {
        let (file, a, ..) = file();
        let tenants = Tenants::new(&file, [7; 32]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let refused = |text: Option<&str>, code| {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            assert_eq!(tenants.reload(&path).unwrap_err().code(), code);
            assert!(tenants.enter(&a, NOW).is_ok());
        };
        refused(None, "keys.unreadable");
        refused(Some("{"), "keys.form");
        refused(Some(&file.render().replace("\"b\"", "\"a\"")), "keys.twice");
        assert_eq!(tenants.reloads(), Reloads { done: 0, failed: 3, stale: true });
        let mut next = file.clone();
        next.tenants.remove(0);
        std::fs::write(&path, next.render()).unwrap();
        tenants.reload(&path).unwrap();
        assert_eq!(tenants.enter(&a, NOW).err(), Some(Refused::Unknown));
        assert_eq!(tenants.reloads(), Reloads { done: 1, failed: 3, stale: false });
    }

    #[test]
    fn limits_are_the_tenants_not_the_keys() {
        let (file, a, other, b) = file();
        let tenants = Tenants::new(&file, [7; 32]);
        let first = tenants.enter(&a, NOW).unwrap();
        let _second = tenants.enter(&other, NOW).unwrap();
        assert_eq!(tenants.enter(&a, NOW).err(), Some(Refused::Busy(Busy::Concurrent { limit: 2 })));
        let many: Vec<_> = (0..100).map(|_| tenants.enter(&b, NOW).unwrap()).collect();
        drop(first);
        assert!(tenants.enter(&a, NOW).is_ok(), "one has ended");
        drop(many);
    }
}
