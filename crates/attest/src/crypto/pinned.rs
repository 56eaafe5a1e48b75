//! Certificates that are embedded in this library (spec/attest.md §1.8): the signatures by which one of them signed another
//! are constants, so each is computed once in a process and not in every verification, and their keys are read once. A
//! simulator's are not among them.

use std::sync::OnceLock;

use super::Scheme;
use crate::der;
use crate::x509::Certificate;

use super::backend::{self, PssKey};

static PINNED: OnceLock<Vec<Pinned>> = OnceLock::new();
static KEYS: OnceLock<Vec<PinnedKey>> = OnceLock::new();

/// An embedded issuer's key, for AMD's one scheme. What a library computes of a key before it verifies costs about as much as
/// verifying with it.
struct PinnedKey {
    key: Vec<u8>,
    /// Once it was asked for; nothing where the library refuses it.
    read: OnceLock<Option<PssKey>>,
}

struct Pinned {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    /// Once it was asked for. It starts as nothing, never as yes.
    valid: OnceLock<bool>,
}

/// Names the embedded pairs of issuer and issued. The first call decides.
pub(crate) fn pin<'a>(pairs: impl Iterator<Item = (&'a Certificate, &'a Certificate)>) {
    let pairs: Vec<_> = pairs.collect();
    let keys = || pairs.iter().flat_map(|(issuer, issued)| [issuer, issued]);
    KEYS.get_or_init(|| keys().filter_map(|certificate| PinnedKey::of(certificate)).collect());
    PINNED.get_or_init(|| pairs.iter().filter_map(|(issuer, issued)| Pinned::of(issuer, issued)).collect());
}

/// What the library says of a signature: with the key that was read before, where it is an embedded one.
pub(super) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let keys = KEYS.get().map(Vec::as_slice).unwrap_or_default();
    match keys.iter().find(|pinned| pinned.key == key) {
        Some(pinned) if scheme == Scheme::RsaPssSha384 => {
            let read = pinned.read.get_or_init(|| PssKey::read(key)).as_ref();
            read.is_some_and(|read| read.verify(message, signature))
        }
        _ => backend::verify(scheme, key, message, signature),
    }
}

/// What `verify` says, at most once for each of the pairs. AMD's authorities have one scheme; another is not looked up.
pub(super) fn once(
    scheme: Scheme,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    verify: impl FnOnce() -> bool,
) -> bool {
    let pinned = PINNED.get().map(Vec::as_slice).unwrap_or_default();
    match pinned.iter().find(|pinned| pinned.is(key, message, signature)) {
        Some(pinned) if scheme == Scheme::RsaPssSha384 => *pinned.valid.get_or_init(verify),
        _ => verify(),
    }
}

impl PinnedKey {
    fn of(certificate: &Certificate) -> Option<Self> {
        let (_, key) = der::public_key(&certificate.spki)?;
        Some(Self { key: key.to_vec(), read: OnceLock::new() })
    }
}

impl Pinned {
    fn of(issuer: &Certificate, issued: &Certificate) -> Option<Self> {
        let signed = der::signed(&issued.der)?;
        let (_, key) = der::public_key(&issuer.spki)?;
        Some(Self {
            key: key.to_vec(),
            message: signed.to_be_signed.to_vec(),
            signature: signed.signature.to_vec(),
            valid: OnceLock::new(),
        })
    }

    /// Every byte is compared.
    fn is(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.signature == signature && self.message == message && self.key == key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::TrustAnchors;
    use crate::snp::ProductLine;

    fn asked(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let mut asked = false;
        once(scheme, key, message, signature, || {
            asked = true;
            // As it is: what is asked here stays in the process.
            backend::verify(Scheme::RsaPssSha384, key, message, signature)
        });
        asked
    }

    #[test]
    fn a_key_that_was_read_before_says_the_same() {
        let anchors = TrustAnchors::amd();
        let line = anchors.line(ProductLine::Milan).expect("embedded");
        let signed = Pinned::of(&line.ark, &line.ask).expect("a certificate");
        let scheme = Scheme::RsaPssSha384;
        let asked = |scheme, message: &[u8], signature: &[u8]| {
            let said = verify(scheme, &signed.key, message, signature);
            assert_eq!(said, backend::verify(scheme, &signed.key, message, signature));
            said
        };
        assert!(asked(scheme, &signed.message, &signed.signature));
        assert!(KEYS.get().expect("pinned").iter().any(|pinned| pinned.read.get().is_some()), "it was read");
        assert!(!asked(Scheme::RsaPkcs1Sha384, &signed.message, &signed.signature), "another scheme");
        assert!(!asked(scheme, b"", &signed.signature));
        for at in [0, 255, 511] {
            let mut changed = signed.signature.clone();
            changed[at] ^= 1;
            assert!(!asked(scheme, &signed.message, &changed), "octet {at}");
        }
        assert!(!asked(scheme, &signed.message, &signed.signature[1..]));
    }

    #[test]
    fn only_the_embedded_bytes_are_computed_once() {
        let anchors = TrustAnchors::amd();
        let line = anchors.line(ProductLine::Genoa).expect("embedded");
        let pinned = Pinned::of(&line.ark, &line.ask).expect("a certificate");
        let scheme = Scheme::RsaPssSha384;
        asked(scheme, &pinned.key, &pinned.message, &pinned.signature);
        assert!(!asked(scheme, &pinned.key, &pinned.message, &pinned.signature), "the second time");
        assert!(once(scheme, &pinned.key, &pinned.message, &pinned.signature, || false), "and it was valid");
        assert!(asked(Scheme::RsaPkcs1Sha384, &pinned.key, &pinned.message, &pinned.signature));
        for which in 0..3 {
            let mut changed = [pinned.key.clone(), pinned.message.clone(), pinned.signature.clone()];
            *changed[which].last_mut().expect("not empty") ^= 1;
            let [key, message, signature] = &changed;
            assert!(asked(scheme, key, message, signature), "part {which}");
            assert!(asked(scheme, key, message, signature), "part {which}, the second time");
        }
    }
}
