//! Whatever arrives, the answer is a value: nothing panics, and nothing random is genuine.

use casemate_attest::{Endorsements, Evidence, Policy, Revocation, TrustAnchors, UnixTime, verify};
use proptest::collection::vec;
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

const GENOA: &str = include_str!("../roots/amd-genoa.pem");
const POLICY: &str = include_str!("policies/example.toml");

/// Random bytes with the form of a report.
fn formed() -> impl Strategy<Value = Vec<u8>> {
    (2..=5_u8, 0..=3_u8, 0..=1_u8, vec(any::<u8>(), 0x2a0), vec(any::<u8>(), 96)).prop_map(
        |(version, vmpl, signer, mut bytes, signature)| {
            bytes.resize(0x4a0, 0);
            let mut zero = vec![0x04c..0x050, 0x18b..0x1a0, 0x1eb..0x1ec, 0x1ef..0x1f0, 0x208..0x2a0];
            if version < 3 {
                zero.push(0x188..0x18b);
            }
            if version < 5 {
                zero.push(0x1f8..0x208);
            }
            if signer == 1 {
                zero.push(0x1a0..0x1e0);
            }
            for range in zero {
                bytes[range].fill(0);
            }
            bytes[0x000..0x004].copy_from_slice(&u32::from(version).to_le_bytes());
            bytes[0x00a] |= 0b10;
            bytes[0x00b] &= 0b11;
            bytes[0x00c..0x010].fill(0);
            bytes[0x030..0x034].copy_from_slice(&u32::from(vmpl).to_le_bytes());
            bytes[0x034..0x038].copy_from_slice(&1_u32.to_le_bytes());
            bytes[0x048..0x04c].copy_from_slice(&(u32::from(signer) << 2).to_le_bytes());
            bytes[0x2a0..0x2d0].copy_from_slice(&signature[..48]);
            bytes[0x2e8..0x318].copy_from_slice(&signature[48..]);
            bytes
        },
    )
}

/// One of AMD's certificates with some bytes changed.
fn certificate() -> impl Strategy<Value = Vec<u8>> {
    (0..3_usize, vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(which, changes)| {
        let mut der: Vec<u8> = CertificateDer::pem_slice_iter(GENOA.as_bytes())
            .nth(which)
            .expect("three certificates")
            .expect("PEM")
            .to_vec();
        for (index, value) in changes {
            let index = index.index(der.len());
            der[index] = value;
        }
        der
    })
}

/// The text with a piece cut out and another put in.
fn cut(text: &'static str) -> impl Strategy<Value = String> {
    (any::<prop::sample::Index>(), 0..40_usize, "[ -~\\n]{0,20}").prop_map(
        move |(start, length, inserted)| {
            let start = start.index(text.len());
            let end = (start + length).min(text.len());
            format!("{}{inserted}{}", &text[..start], &text[end..])
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_not_evidence(bytes in vec(any::<u8>(), 0..2400)) {
        prop_assert!(Evidence::parse(&bytes).is_err());
    }

    #[test]
    fn random_reports_of_the_right_length_are_values(bytes in vec(any::<u8>(), 1184)) {
        prop_assert!(Evidence::parse(&bytes).is_err());
    }

    #[test]
    fn formed_reports_parse_and_are_not_genuine(
        report in formed(),
        vek in certificate(),
        crl in vec(any::<u8>(), 0..64),
        now in any::<u64>(),
    ) {
        let evidence = Evidence::parse(&report).expect("the form is right");
        prop_assert_eq!(evidence.bytes(), report.as_slice());
        let endorsements = Endorsements::snp(vek, Revocation::Crl(crl));
        let rejected = verify(&evidence, &endorsements, &TrustAnchors::amd(), UnixTime(now));
        prop_assert!(rejected.is_err());
    }

    #[test]
    fn any_text_is_a_policy_or_an_error(text in cut(POLICY)) {
        if let Err(error) = Policy::from_toml(&text) {
            prop_assert!(error.code().starts_with("policy."));
        }
    }

    #[test]
    fn any_text_is_no_danger_bundle(text in ".{0,200}", changed in cut(GENOA)) {
        prop_assert!(TrustAnchors::danger_only_pem(&text).is_err());
        prop_assert!(TrustAnchors::danger_only_pem(&changed).is_err());
    }
}
