//! Single steps on a blank report and a certificate that is only its decoded fields. The signed counterparts of these
//! cases need a signing key, and so are the simulator's (crate `casemate-sim`).

use super::*;
use crate::snp::report::tests::blank;
use crate::snp::vek::CertTcb;

const TCB: Tcb = Tcb { fmc: 0, bootloader: 9, tee: 1, snp: 0x17, microcode: 0x48 };

fn report(change: impl FnOnce(&mut Vec<u8>)) -> Report {
    let mut bytes = blank(3);
    bytes[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 0x01]);
    bytes[0x1a0..0x1e0].fill(7);
    change(&mut bytes);
    Report::parse(&bytes).expect("form")
}

/// An endorsement for Genoa, on the ARK's certificate with a key that signs nothing.
fn vek(change: impl FnOnce(&mut Vek)) -> Vek {
    let mut certificate = TrustAnchors::amd().line(ProductLine::Genoa).expect("embedded").ark.clone();
    certificate.key = PublicKey::P384([4; 97]);
    let mut vek = Vek {
        certificate,
        line: ProductLine::Genoa,
        product_name: "Genoa".to_owned(),
        tcb: CertTcb::of(TCB),
        subject: Subject::Chip([7; 64]),
    };
    change(&mut vek);
    vek
}

fn code<T>(step: Step<T>) -> &'static str {
    match step {
        Ok(_) => "accepted",
        Err(rejection) => rejection.code(),
    }
}

#[test]
fn the_signer_fits_the_chip_identity() {
    let zero_chip = |bytes: &mut Vec<u8>| bytes[0x1a0..0x1e0].fill(0);
    assert_eq!(code(signer(&report(|_| ()))), "accepted");
    assert_eq!(code(signer(&report(zero_chip))), "snp.chip-id.zero");
    assert_eq!(code(signer(&report(|bytes| bytes[0x048] = 0b10))), "snp.signer.chip-key-masked");
    assert_eq!(
        code(signer(&report(|bytes| (zero_chip(bytes), bytes[0x048] = 0b10).1))),
        "snp.signer.chip-key-masked"
    );
    assert_eq!(code(signer(&report(|bytes| bytes[0x048] = 0b100))), "snp.chip-id.not-zero");
    assert_eq!(code(signer(&report(|bytes| (zero_chip(bytes), bytes[0x048] = 0b100).1))), "accepted");
    for number in 2..=7 {
        let step = signer(&report(|bytes| (zero_chip(bytes), bytes[0x048] = number << 2).1));
        assert_eq!(code(step), "snp.signer.unsupported", "{number}");
    }
}

#[test]
fn report_and_certificate_are_of_one_line() {
    let cpu = |family, model| report(|bytes| bytes[0x188..0x18a].copy_from_slice(&[family, model]));
    assert_eq!(code(product(&cpu(0x19, 0x11), &vek(|_| ()))), "accepted");
    assert_eq!(code(product(&cpu(0x19, 0xa0), &vek(|_| ()))), "accepted", "Bergamo and Siena");
    assert_eq!(code(product(&cpu(0x19, 0x01), &vek(|_| ()))), "snp.product.mismatch");
    assert_eq!(code(product(&cpu(0x1a, 0x02), &vek(|_| ()))), "snp.product.mismatch");
    assert_eq!(code(product(&cpu(0x1a, 0x50), &vek(|_| ()))), "snp.product.unknown-cpu");
    assert_eq!(code(product(&cpu(0, 0), &vek(|_| ()))), "snp.product.unknown-cpu");
    let milan = vek(|vek| vek.line = ProductLine::Milan);
    assert_eq!(code(product(&cpu(0x19, 0x11), &milan)), "snp.product.mismatch");
}

#[test]
fn reserved_octets_of_each_tcb_are_refused() {
    for field in [0x038, 0x180, 0x1e0, 0x1f0] {
        for octet in 2..6 {
            let step = product(&report(|bytes| bytes[field + octet] = 1), &vek(|_| ()));
            assert_eq!(code(step), "snp.tcb.reserved", "{field:#x} octet {octet}");
        }
    }
}

#[test]
fn a_root_must_be_pinned_for_the_line() {
    let now = UnixTime(1_759_320_000);
    let anchors = TrustAnchors::amd();
    assert_eq!(code(root(&anchors, &vek(|_| ()), now)), "accepted");
    let milan_only = anchors.without(ProductLine::Genoa);
    assert_eq!(code(root(&milan_only, &vek(|_| ()), now)), "snp.root.missing");
    assert_eq!(code(root(&anchors, &vek(|_| ()), UnixTime(0))), "x509.not-yet-valid");
    assert_eq!(code(root(&anchors, &vek(|_| ()), UnixTime(u64::MAX))), "x509.expired");
}

#[test]
fn r_and_s_are_in_range_before_anything_is_computed() {
    let signed = |r: u8, s: u8| report(|bytes| (bytes[0x2a0] = r, bytes[0x2e8] = s).1);
    let full = |field: usize| {
        report(|bytes| (bytes[0x2a0] = 1, bytes[0x2e8] = 1, bytes[field..field + 48].fill(0xff)).2)
    };
    assert_eq!(code(signature(&signed(0, 1), &vek(|_| ()))), "snp.signature.scalar");
    assert_eq!(code(signature(&signed(1, 0), &vek(|_| ()))), "snp.signature.scalar");
    assert_eq!(code(signature(&full(0x2a0), &vek(|_| ()))), "snp.signature.scalar");
    assert_eq!(code(signature(&full(0x2e8), &vek(|_| ()))), "snp.signature.scalar");
    assert_eq!(code(signature(&signed(1, 1), &vek(|_| ()))), "snp.signature.invalid");
    let rsa = vek(|vek| vek.certificate.key = PublicKey::Rsa { bits: 4096, exponent: 65537 });
    assert_eq!(code(signature(&signed(1, 1), &rsa)), "x509.key-type");
}

#[test]
fn the_certified_tcb_is_the_reported_one_in_every_component() {
    assert_eq!(code(certified_tcb(&vek(|_| ()), TCB)), "accepted");
    for reported in [
        Tcb { fmc: 1, ..TCB },
        Tcb { bootloader: 10, ..TCB },
        Tcb { tee: 0, ..TCB },
        Tcb { snp: 0x18, ..TCB },
        Tcb { microcode: 0x47, ..TCB },
        Tcb { microcode: 0xff, ..TCB },
    ] {
        assert_eq!(code(certified_tcb(&vek(|_| ()), reported)), "snp.tcb.certificate-mismatch", "{reported}");
    }
}

#[test]
fn the_certified_chip_is_the_reported_one_to_the_last_byte() {
    assert_eq!(code(certified_chip(&report(|_| ()), &vek(|_| ()))), "accepted");
    for offset in 0x1a0..0x1e0 {
        let step = certified_chip(&report(|bytes| bytes[offset] ^= 1), &vek(|_| ()));
        assert_eq!(code(step), "snp.chip-id.certificate-mismatch", "{offset:#x}");
    }
    let provider = vek(|vek| vek.subject = Subject::Provider("CN=a.example".to_owned()));
    assert_eq!(code(certified_chip(&report(|bytes| bytes[0x1a0..0x1e0].fill(0)), &provider)), "accepted");
}

#[test]
fn a_waiver_of_revocation_needs_a_reason() {
    let genoa = TrustAnchors::amd().line(ProductLine::Genoa).expect("embedded").clone();
    let issuers = Issuers { anchor: &genoa.ark, intermediate: &genoa.ask };
    let with = |revocation| revoked(&revocation, &issuers, &vek(|_| ()), UnixTime(1), UnixTime(2));
    let waived = |reason: &str| Revocation::DangerNotChecked { reason: reason.to_owned() };
    assert!(matches!(with(waived("lab")), Ok((UnixTime(2), Finding::Waived(_)))));
    for missing in [waived(""), waived(" \n"), Revocation::Missing, Revocation::Crl(Vec::new())] {
        assert_eq!(code(with(missing)), "crl.missing");
    }
}
