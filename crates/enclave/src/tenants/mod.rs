//! Who may ask, and how much (spec/serving.md, section 4).
//!
//! A tenant has keys, of which the server's file holds only the SHA-256: a key has 256 random bits, so that its hash cannot be
//! tried out. What a tenant may use is written in the file, nothing is left to a default.

mod file;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use casemate_attest::UnixTime;
use casemate_engine::Tenant;

pub use file::{ApiKeyEntry, ApiKeysFile, KeysError, NewKey, TenantEntry, TenantLimits};
pub use usage::Busy;
pub(crate) use usage::Visit;
use usage::Visitor;

/// All tenants of a server.
pub struct Tenants {
    /// By the SHA-256 of the key.
    keys: BTreeMap<[u8; 32], Key>,
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
    /// The tenants of a file. `secret` is this boot's own: tenants' names inside are derived from it (SRV-32).
    #[must_use]
    pub fn new(file: &ApiKeysFile, secret: [u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let mut keys = BTreeMap::new();
        for entry in &file.tenants {
            let mut name = [0; 32];
            for (to, from) in name.iter_mut().zip(hmac::sign(&secret, entry.name.as_bytes()).as_ref()) {
                *to = *from;
            }
            let tenant = Arc::new(Visitor::new(Tenant(name), entry.limits));
            for key in &entry.keys {
                let not_after = key.not_after.map(UnixTime);
                keys.insert(key.sha256, Key { not_after, tenant: Arc::clone(&tenant) });
            }
        }
        Self { keys }
    }

    /// Lets the owner of `key` in, for one request.
    pub(crate) fn enter(&self, key: &str, now: UnixTime) -> Result<Visit, Refused> {
        let hash = digest(&SHA256, key.as_bytes());
        let key = hash.as_ref().try_into().ok().and_then(|hash: [u8; 32]| self.keys.get(&hash));
        let key = key.ok_or(Refused::Unknown)?;
        if key.not_after.is_some_and(|not_after| now > not_after) {
            return Err(Refused::Expired);
        }
        key.tenant.enter(now).map_err(Refused::Busy)
    }
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
