//! AMD's own Genoa authorities with one property changed after parsing. Certificates that are wrong in their bytes are
//! the simulator's business (crate `casemate-sim`).

use super::*;
use crate::anchors::TrustAnchors;
use crate::crypto;
use crate::snp::ProductLine;

const NOW: UnixTime = UnixTime(1_759_320_000); // 2025-10-01T12:00:00Z

static PROFILE: Profile = Profile {
    algorithms: crypto::RSA_PSS_SHA384,
    issuer_key: |key| *key == PublicKey::Rsa { bits: 4096, exponent: 65537 },
    leaf_key: |_| true,
};

fn ark() -> Certificate {
    TrustAnchors::amd().line(ProductLine::Genoa).expect("embedded").ark.clone()
}

fn ask() -> Certificate {
    TrustAnchors::amd().line(ProductLine::Genoa).expect("embedded").ask.clone()
}

fn root_code(change: impl FnOnce(&mut Certificate)) -> &'static str {
    let mut anchor = ark();
    change(&mut anchor);
    check_anchor(&anchor, &PROFILE, NOW).expect_err("must be refused").code()
}

fn path_code(change: impl FnOnce(&mut Certificate, &mut Certificate)) -> &'static str {
    let (mut intermediate, mut leaf) = (ask(), ask());
    leaf.is_ca = false;
    leaf.key_usage = KeyUsage::Absent;
    change(&mut intermediate, &mut leaf);
    let issuers = Issuers { anchor: &ark(), intermediate: &intermediate };
    validate(&issuers, &leaf, &PROFILE, NOW).expect_err("must be refused").code()
}

const NO_SIGNING: KeyUsage =
    KeyUsage::Present { digital_signature: false, certificate_sign: false, crl_sign: true };

#[test]
fn the_unchanged_root_is_accepted_within_its_validity() {
    let anchor = ark();
    for (now, accepted) in [
        (anchor.not_before, true),
        (anchor.not_after, true),
        (UnixTime(anchor.not_before.0 - 1), false),
        (UnixTime(anchor.not_after.0 + 1), false),
    ] {
        assert_eq!(check_anchor(&anchor, &PROFILE, now).is_ok(), accepted, "{now}");
    }
}

#[test]
fn a_root_must_be_an_authority_of_the_right_kind() {
    assert_eq!(root_code(|root| root.is_ca = false), "x509.not-an-authority");
    assert_eq!(root_code(|root| root.key_usage = KeyUsage::Absent), "x509.key-usage");
    assert_eq!(root_code(|root| root.key_usage = NO_SIGNING), "x509.key-usage");
    for key in [
        PublicKey::Rsa { bits: 2048, exponent: 65537 },
        PublicKey::Rsa { bits: 4095, exponent: 65537 },
        PublicKey::Rsa { bits: 4096, exponent: 3 },
        PublicKey::P384([4; 97]),
        PublicKey::Other,
    ] {
        assert_eq!(root_code(|root| root.key = key), "x509.key-type", "{key:?}");
    }
    assert_eq!(root_code(|root| root.not_before = UnixTime(NOW.0 + 1)), "x509.not-yet-valid");
    assert_eq!(root_code(|root| root.not_after = UnixTime(NOW.0 - 1)), "x509.expired");
}

#[test]
fn an_intermediate_must_be_an_authority_of_the_right_kind() {
    assert_eq!(path_code(|ask, _| ask.is_ca = false), "x509.not-an-authority");
    assert_eq!(path_code(|ask, _| ask.key_usage = KeyUsage::Absent), "x509.key-usage");
    assert_eq!(path_code(|ask, _| ask.key_usage = NO_SIGNING), "x509.key-usage");
    assert_eq!(path_code(|ask, _| ask.key = PublicKey::Rsa { bits: 3072, exponent: 65537 }), "x509.key-type");
    assert_eq!(path_code(|ask, _| ask.not_before = UnixTime(NOW.0 + 1)), "x509.not-yet-valid");
    assert_eq!(path_code(|ask, _| ask.not_after = UnixTime(NOW.0 - 1)), "x509.expired");
}

#[test]
fn a_leaf_must_not_be_an_authority() {
    assert_eq!(path_code(|_, leaf| leaf.is_ca = true), "x509.leaf-is-authority");
    assert_eq!(path_code(|_, leaf| leaf.key_usage = NO_SIGNING), "x509.key-usage");
    assert_eq!(path_code(|_, leaf| leaf.not_before = UnixTime(NOW.0 + 1)), "x509.not-yet-valid");
    assert_eq!(path_code(|_, leaf| leaf.not_after = UnixTime(NOW.0 - 1)), "x509.expired");
}

#[test]
fn the_bytes_decide_and_not_the_fields_that_were_read_from_them() {
    // An ASK in the leaf's place is refused by webpki although the changed fields call it a leaf.
    assert_eq!(path_code(|_, _| ()), "x509.path");
}
