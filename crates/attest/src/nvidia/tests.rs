//! Reports that are written here, one mistake each. Nothing in them is recorded, and none is signed.

use proptest::prelude::*;

use super::anchors::NvidiaAnchors;
use super::evidence::{DeviceChain, GpuEvidence};
use super::genuine::{self, NvidiaEndorsements};
use super::opaque::Opaque;
use super::revocation::GpuRevocation;
use super::spdm::Spdm;
use super::xml;
use crate::checks::Ledger;
use crate::rules;
use crate::time::UnixTime;
use crate::x509::{Certificate, Extension};

const NOW: UnixTime = UnixTime(1_759_320_000); // 2025-10-01T12:00:00Z

fn field(kind: u16, value: &[u8]) -> Vec<u8> {
    let size = u16::try_from(value.len()).expect("short");
    [&kind.to_le_bytes()[..], &size.to_le_bytes(), value].concat()
}

/// A report with two measurements.
fn report(opaque: &[u8]) -> Vec<u8> {
    let mut report = vec![0x11, 0xe0, 0x01, 0xff];
    report.extend([7; 32]);
    report.push(0);
    report.extend([0x11, 0x60, 0, 0, 2, 110, 0, 0]);
    for index in [1, 2] {
        report.extend([index, 1, 51, 0, 1, 48, 0]);
        report.extend([index; 48]);
    }
    report.extend([9; 32]);
    report.extend(u16::try_from(opaque.len()).expect("short").to_le_bytes());
    report.extend(opaque);
    report.extend([1; 96]);
    report
}

fn code(report: &[u8]) -> &'static str {
    Spdm::parse(report).expect_err("must be refused").code()
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
    let mut report = report(&field(3, b"580.1\0"));
    change(&mut report);
    code(&report)
}

#[test]
fn a_report_is_read_as_it_is_laid_out() {
    let bytes = report(&field(3, b"580.1\0"));
    let spdm = Spdm::parse(&bytes).expect("well-formed");
    assert_eq!(spdm.bytes(), bytes);
    assert_eq!(spdm.signed(), &bytes[..bytes.len() - 96]);
    assert_eq!(spdm.nonce(), &[7; 32]);
    assert_eq!(spdm.measurements(), [[1; 48], [2; 48]]);
    assert_eq!(spdm.record().len(), 110);
    assert_eq!(spdm.signature(), ([1; 48], [1; 48]));
    assert_eq!(spdm.opaque().driver_version.as_deref(), Some("580.1"));
}

#[test]
fn one_mistake_in_the_form() {
    assert_eq!(changed(|r| r.push(0)), "nvidia.format.trailing");
    assert_eq!(changed(|r| r.truncate(r.len() - 1)), "nvidia.format.truncated");
    assert_eq!(changed(|r| r.extend([0; 16 * 1024])), "nvidia.format.too-long");
    assert_eq!(changed(Vec::clear), "nvidia.format.truncated");
    assert_eq!(changed(|r| r[0] = 0x12), "nvidia.format.request", "SPDM 1.2");
    assert_eq!(changed(|r| r[2] = 0), "nvidia.format.request", "no signature asked for");
    assert_eq!(changed(|r| r[36] = 1), "nvidia.format.request", "slot 1");
    assert_eq!(changed(|r| r[38] = 0x7f), "nvidia.format.response", "ERROR");
    assert_eq!(changed(|r| r[40] = 1), "nvidia.format.response", "slot 1");
    assert_eq!(changed(|r| r[41] = 3), "nvidia.format.record-length");
    assert_eq!(changed(|r| r[41] = 0), "nvidia.format.record-length");
    assert_eq!(changed(|r| r[44] = 1), "nvidia.format.record-length");
    assert_eq!(changed(|r| r[46] = 2), "nvidia.format.block", "not DMTF");
    assert_eq!(changed(|r| r[49] = 0x81), "nvidia.format.block", "raw value");
    assert_eq!(changed(|r| r[50] = 32), "nvidia.format.block", "shorter value");
    assert_eq!(changed(|r| r[45 + 55] = 1), "nvidia.format.index", "1 twice");
    assert_eq!(changed(|r| r[45] = 2), "nvidia.format.index", "starts with 2");
}

#[test]
fn every_prefix_is_refused() {
    let report = report(&field(3, b"580.1\0"));
    for length in 0..report.len() {
        assert!(Spdm::parse(&report[..length]).is_err(), "{length}");
    }
}

#[test]
fn one_mistake_in_the_opaque_data() {
    let refused = |opaque: &[u8]| code(&report(opaque));
    assert_eq!(refused(b"NVDAOD\x01\x00 anything"), "nvidia.opaque.versioned");
    assert_eq!(refused(&[3]), "nvidia.opaque.malformed");
    assert_eq!(refused(&[3, 0, 5, 0, b'1']), "nvidia.opaque.malformed");
    let twice = [field(3, b"580.1\0"), field(3, b"580.2\0")].concat();
    assert_eq!(refused(&twice), "nvidia.opaque.duplicate");
    let many: Vec<u8> = (100..165).flat_map(|kind| field(kind, b"")).collect();
    assert_eq!(refused(&many), "nvidia.opaque.malformed");
    for (kind, value) in [
        (3, &b""[..]),
        (3, b"\0"),
        (3, b"580\0.1"),
        (3, b"58\x1b0"),
        (3, b"580 1"),
        (6, &[0, 0x9f, 0, 0x96, 1, 0, 0, 1]),
        (6, &[0; 7]),
        (11, &[0]),
        (11, &[0xaa, 0]),
        (20, &[0; 47]),
        (21, &[0x56]),
        (22, &[0; 9]),
        (22, &[]),
        (36, &[0]),
    ] {
        assert_eq!(refused(&field(kind, value)), "nvidia.opaque.field", "{kind} {value:?}");
    }
}

#[test]
fn fields_are_read_as_their_form_says() {
    let opaque = [
        field(6, &[0x00, 0x9f, 0x00, 0x96, 0x01, 0, 0, 0]),
        field(11, &[0x55]),
        field(21, &[0xaa]),
        field(22, &[5; 16]),
        field(36, &[2, 0]),
        field(4711, b"not known here"),
    ];
    let opaque = Opaque::parse(&opaque.concat()).expect("well-formed");
    assert_eq!(opaque.vbios_version.as_deref(), Some("96.00.9F.00.01"));
    assert_eq!((opaque.nvdec0, opaque.protected_pcie), (Some(false), Some(true)));
    assert_eq!(opaque.pdi, Some(vec![[5; 8]; 2]));
    assert_eq!(opaque.feature_flag, Some(2));
    let switch = Opaque::parse(&field(6, b"96.10.55.00.01")).expect("well-formed");
    assert_eq!(switch.vbios_version.as_deref(), Some("96.10.55.00.01"));
}

/// NVIDIA's root in every place of the chain, as a leaf named like a Hopper's: good enough for single rules.
fn evidence(opaque: &[u8], change: impl FnOnce(&mut Certificate)) -> GpuEvidence {
    let root = NvidiaAnchors::nvidia().root.expect("embedded");
    let named = |name: &str| Certificate { subject_cn: name.to_owned(), ..root.clone() };
    let mut leaf = named("GH100 A01 GSP FMC LF");
    change(&mut leaf);
    GpuEvidence {
        report: Spdm::parse(&report(opaque)).expect("well-formed"),
        chain: DeviceChain {
            leaf,
            device: named("GH100 A01 GSP BROM"),
            provisioner: named("NVIDIA GH100 Provisioner ICA 1"),
            identity: named("NVIDIA GH100 Identity"),
            sent_root: root,
        },
    }
}

fn composite(fwid: &[u8]) -> Vec<u8> {
    let oid = [0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    let octets = [&[0x04, u8::try_from(fwid.len()).expect("short")][..], fwid].concat();
    let fwid = [&oid[..], &octets].concat();
    let fwid = [&[0x30, u8::try_from(fwid.len()).expect("short")][..], &fwid].concat();
    let body = [&[2, 1, 1, 0x30, 0][..], &fwid].concat();
    [&[0x30, u8::try_from(body.len()).expect("short")][..], &body].concat()
}

fn firmware(opaque: &[u8], extensions: &[(&str, Vec<u8>)]) -> Result<Option<[u8; 48]>, &'static str> {
    let evidence = evidence(opaque, |leaf| {
        for (oid, value) in extensions {
            leaf.extensions.push(Extension { oid: (*oid).to_owned(), value: value.clone() });
        }
    });
    genuine::firmware_id(&evidence.report, &evidence.chain)
        .map(|(found, _)| found)
        .map_err(|error| error.code())
}

#[test]
fn the_firmware_identity_is_compared_where_it_is_reported() {
    const HOPPER: &str = "2.23.133.5.4.1";
    const BLACKWELL: &str = "2.23.133.5.4.1.1";
    let reported = field(20, &[5; 48]);
    let good = composite(&[5; 48]);
    assert_eq!(firmware(&reported, &[(HOPPER, good.clone())]), Ok(Some([5; 48])));
    assert_eq!(firmware(&[], &[(HOPPER, good.clone())]), Ok(Some([5; 48])), "not reported");
    assert_eq!(firmware(&[], &[]), Ok(None), "not reported and not certified");
    let other = composite(&[6; 48]);
    assert_eq!(firmware(&reported, &[(HOPPER, other)]), Err("nvidia.firmware-id.mismatch"));

    let uncertified = Err("nvidia.firmware-id.uncertified");
    assert_eq!(firmware(&reported, &[]), uncertified);
    assert_eq!(firmware(&reported, &[(BLACKWELL, good.clone())]), uncertified, "Hopper's form");
    assert_eq!(firmware(&reported, &[(HOPPER, good.clone()), (BLACKWELL, good.clone())]), uncertified);
    assert_eq!(firmware(&reported, &[(HOPPER, composite(&[5; 47]))]), uncertified);
    assert_eq!(firmware(&reported, &[(HOPPER, [good, vec![0]].concat())]), uncertified, "trailing byte");

    let inner = &composite(&[5; 48])[7..];
    let list = [&[0xa6, u8::try_from(inner.len()).expect("short")][..], inner].concat();
    let info = [&[0x80, 1, b'N'][..], &list, &[0x87, 1, 0]].concat();
    let info = [&[0x30, u8::try_from(info.len()).expect("short")][..], &info].concat();
    assert_eq!(firmware(&reported, &[(BLACKWELL, info)]), Ok(Some([5; 48])));
}

fn verdict(
    evidence: &GpuEvidence,
    revocation: GpuRevocation,
    anchors: &NvidiaAnchors,
) -> Result<(), &'static str> {
    let mut ledger = Ledger::new(rules::NVIDIA);
    let endorsements = NvidiaEndorsements { revocation };
    genuine::verify(evidence, &endorsements, anchors, NOW, &mut ledger)
        .map(drop)
        .map_err(|error| error.code())
}

#[test]
fn names_of_two_chips_or_of_none_are_refused() {
    let waived = GpuRevocation::DangerNotChecked { reason: "a test".to_owned() };
    let refused = |change: &dyn Fn(&mut DeviceChain)| {
        let mut evidence = evidence(&[], |_| {});
        change(&mut evidence.chain);
        verdict(&evidence, waived.clone(), &NvidiaAnchors::nvidia())
    };
    let code = Err("nvidia.chain.architecture");
    assert_eq!(refused(&|chain| chain.leaf.subject_cn = "LS_10 A01 FSP FMC LF".to_owned()), code);
    assert_eq!(refused(&|chain| chain.device.subject_cn = "GB100 A01 GSP BROM".to_owned()), code);
    assert_eq!(
        refused(&|chain| chain.provisioner.subject_cn = "NVIDIA GB100 Provisioner ICA 1".to_owned()),
        code
    );
    assert_eq!(refused(&|chain| chain.leaf.subject_cn = "GH1000 GSP FMC LF".to_owned()), code);
    assert_eq!(refused(&|chain| chain.leaf.subject_cn = "GH100 A01 GSP BROM".to_owned()), code);
    assert_ne!(refused(&|_| {}), code);
}

#[test]
fn without_a_root_nothing_is_genuine() {
    let mut anchors = NvidiaAnchors::nvidia();
    anchors.root = None;
    let waived = GpuRevocation::DangerNotChecked { reason: "a test".to_owned() };
    assert_eq!(verdict(&evidence(&[], |_| {}), waived, &anchors), Err("nvidia.root.missing"));
}

#[test]
fn canonical_form_sorts_namespaces_and_attributes_and_writes_empty_elements_in_full() {
    let text = b"<b:a z=\"1\" xmlns:b=\"u\" b:k=\"2\" xmlns=\"d\" a=\"3\"> t<x y=\"\"/><b:s/></b:a>\n";
    let root = xml::parse(text).expect("of the subset");
    assert_eq!(
        root.canonical(&[], Some("b:s")),
        "<b:a xmlns=\"d\" xmlns:b=\"u\" a=\"3\" z=\"1\" b:k=\"2\"> t<x y=\"\"></x></b:a>"
    );
    let inner = root.only("x").expect("one x");
    assert_eq!(inner.canonical(&[&root], None), "<x xmlns=\"d\" xmlns:b=\"u\" y=\"\"></x>");
}

#[test]
fn xml_outside_the_subset_is_refused() {
    let deep = "<a>".repeat(17) + &"</a>".repeat(17);
    let many = format!("<a>{}</a>", "<b/>".repeat(5000));
    let bomb = (0..20).map(|n| format!("<!ENTITY e{n} \"&e{0};&e{0};\">", n + 1)).collect::<String>();
    let bomb = format!("<!DOCTYPE a [{bomb}<!ENTITY e20 \"x\">]><a>&e0;</a>");
    let wide = format!("<a{}/>", (0..100).map(|n| format!(" a{n}=\"\"")).collect::<String>());
    for text in [
        "",
        "a",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<?xml version=\"1.0\"?><a/>",
        "<!DOCTYPE a><a/>",
        "<a><!-- --></a>",
        "<a><![CDATA[x]]></a>",
        "<a>&lt;</a>",
        "<a>&#65;</a>",
        "<a b=\"&amp;\"/>",
        "<!DOCTYPE a SYSTEM \"file:///etc/hostname\"><a/>",
        bomb.as_str(),
        "<a>></a>",
        "<a\n/>",
        "<a>\r</a>",
        "<a>\u{e9}</a>",
        "<a b='c'/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a b=\"<\"/>",
        "<a b=\"\t\"/>",
        "<p:a/>",
        "<a p:b=\"\"/>",
        "<a xmlns=\"\"/>",
        "<a xmlns:p=\"\"/>",
        "<a xmlns:xml=\"u\"/>",
        "<a xml:id=\"u\"/>",
        "<a xmlns:p=\"u\"><b xmlns:p=\"u\"/></a>",
        "<a xmlns:p=\"u\" xmlns:q=\"u\" p:b=\"\" q:b=\"\"/>",
        "<a:b:c/>",
        "<1/>",
        deep.as_str(),
        many.as_str(),
        wide.as_str(),
    ] {
        assert!(xml::parse(text.as_bytes()).is_none(), "{text:.80}");
    }
}

#[test]
fn a_document_of_every_limit_at_once_takes_no_long_time() {
    // 16 deep, 64 declarations on each, then small elements: each looks at all that is in scope.
    let declared = |depth: usize| (0..64).map(|n| format!(" xmlns:p{depth}x{n}=\"u\"")).collect::<String>();
    let deep: String = (0..15).map(|depth| format!("<a{}>", declared(depth))).collect();
    let document = format!("{deep}{}{}", "<b/>".repeat(4000), "</a>".repeat(15));
    assert!(document.len() < 256 * 1024);
    let root = xml::parse(document.as_bytes()).expect("within every limit");
    assert!(root.canonical(&[], None).len() < 2 * document.len());
}

#[test]
fn long_manifests_are_refused_before_they_are_read() {
    use super::manifest::Manifest;
    let waived = GpuRevocation::DangerNotChecked { reason: "a test".to_owned() };
    for document in
        [vec![b'<'; 10 * 1024 * 1024], vec![0; 10 * 1024 * 1024], b"<a>".repeat(80_000), Vec::new()]
    {
        let rejected = Manifest::verify(&document, &waived, &NvidiaAnchors::nvidia(), NOW);
        assert_eq!(rejected.expect_err("no manifest").code(), "nvidia.manifest.malformed");
    }
}

proptest! {
    #[test]
    fn xml_never_panics(text in "[<>/a:=\"! &\n]{0,60}") {
        if let Some(root) = xml::parse(text.as_bytes()) {
            let canonical = root.canonical(&[], None);
            let again = xml::parse(canonical.as_bytes()).expect("its own form");
            prop_assert_eq!(again.canonical(&[], None), canonical);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Opaque::parse(&bytes);
        prop_assert!(Spdm::parse(&bytes).is_err());
        prop_assert!(GpuEvidence::parse(&report(&[]), &bytes).is_err());
    }
}
