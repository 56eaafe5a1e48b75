//! Signatures (spec/attest.md §1.8) by which one certificate that is embedded in this library signed another. Their bytes are constants, so each is
//! computed once in a process and not in every verification. A simulator's roots are not among them.

use std::sync::OnceLock;

use super::Scheme;
use crate::der;
use crate::x509::Certificate;

static PINNED: OnceLock<Vec<Pinned>> = OnceLock::new();

struct Pinned {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    /// Once it was asked for. It starts as nothing, never as yes.
    valid: OnceLock<bool>,
}

/// Names the embedded pairs of issuer and issued. The first call decides.
pub(crate) fn pin<'a>(pairs: impl Iterator<Item = (&'a Certificate, &'a Certificate)>) {
    PINNED.get_or_init(|| pairs.filter_map(|(issuer, issued)| Pinned::of(issuer, issued)).collect());
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
            super::super::backend::verify(Scheme::RsaPssSha384, key, message, signature)
        });
        asked
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
