//! One mistake each: evidence that is correct otherwise, correctly signed, and refused with the code of the rule that
//! the mistake breaks.

mod attempt;

use attempt::{Anchors, Attempt, DAY, LAUNCH_DIGEST, NOW, REPORT_DATA, vendor};
use casemate_attest::snp::{PlatformProtection, ProductLine, Version};
use casemate_attest::{Revocation, UnixTime};
use casemate_sim::{
    AuthorityMistake, CertificateMistake, Cpuid, CrlMistake, MachineConfig, Signer, Tcb, VekExtension, Vendor,
};

const YEAR: u64 = 365 * DAY;
const GENOA: ProductLine = ProductLine::Genoa;
const TURIN: ProductLine = ProductLine::Turin;

fn vcek() -> MachineConfig {
    MachineConfig::new(LAUNCH_DIGEST)
}

fn vlek() -> MachineConfig {
    MachineConfig { signer: Signer::Vlek, ..vcek() }
}

fn turin() -> MachineConfig {
    MachineConfig::for_line(TURIN, 5, LAUNCH_DIGEST)
}

fn refused(what: &str, attempt: &Attempt, code: &str) {
    match attempt.verdict() {
        Ok(_) => panic!("{what}: verified instead of {code}"),
        Err(found) => assert_eq!(found, code, "{what}"),
    }
}

#[test]
fn vek_certificates() {
    use CertificateMistake as M;
    use VekExtension as X;
    let past = M::Validity { not_before: UnixTime(NOW.0 - YEAR), not_after: UnixTime(NOW.0 - 1) };
    let future = M::Validity { not_before: UnixTime(NOW.0 + 1), not_after: UnixTime(NOW.0 + YEAR) };
    let tcb = vcek().tcb;
    let other_chip = [0x77; 64];
    let mut cases = vec![
        (vcek(), past.clone(), "x509.expired"),
        (vlek(), past, "x509.expired"),
        (vcek(), future.clone(), "x509.not-yet-valid"),
        (vlek(), future, "x509.not-yet-valid"),
        (vcek(), M::OtherTcb(Tcb { bootloader: tcb.bootloader - 1, ..tcb }), "snp.tcb.certificate-mismatch"),
        (vcek(), M::OtherTcb(Tcb { tee: tcb.tee + 1, ..tcb }), "snp.tcb.certificate-mismatch"),
        (vcek(), M::OtherTcb(Tcb { snp: tcb.snp - 1, ..tcb }), "snp.tcb.certificate-mismatch"),
        (vcek(), M::OtherTcb(Tcb { microcode: tcb.microcode + 1, ..tcb }), "snp.tcb.certificate-mismatch"),
        (vlek(), M::OtherTcb(Tcb { microcode: tcb.microcode - 1, ..tcb }), "snp.tcb.certificate-mismatch"),
        (turin(), M::OtherTcb(Tcb { fmc: 0, ..turin().tcb }), "snp.tcb.certificate-mismatch"),
        (vcek(), M::OtherHwid(other_chip), "snp.chip-id.certificate-mismatch"),
        (turin(), M::OtherHwid(other_chip), "snp.chip-id.certificate-mismatch"),
        (vcek(), M::HwidLength(8), "snp.vek.extension-malformed"),
        (vcek(), M::HwidLength(63), "snp.vek.extension-malformed"),
        (turin(), M::HwidLength(64), "snp.vek.extension-malformed"),
        (turin(), M::HwidLength(7), "snp.vek.extension-malformed"),
        (vcek(), M::ProductName("Rome-B0"), "snp.product.unknown"),
        (vcek(), M::ProductName("genoa"), "snp.product.unknown"),
        (vcek(), M::ProductName("Milan-B0"), "snp.vek.issuer"),
        (vcek(), M::CommonName("SEV-VLEK"), "snp.vek.subject"),
        (vcek(), M::CommonName("VCEK"), "snp.vek.subject"),
        (vcek(), M::CommonName("SEV-Genoa"), "snp.vek.subject"),
        (vlek(), M::CommonName("SEV-VCEK"), "snp.vek.subject"),
        (vcek(), M::IssuerCommonName("SEV-Milan"), "snp.vek.issuer"),
        (vcek(), M::IssuerCommonName("SEV-VLEK-Genoa"), "snp.vek.issuer"),
        (vcek(), M::IssuerCommonName("ARK-Genoa"), "snp.vek.issuer"),
        (vlek(), M::IssuerCommonName("SEV-Genoa"), "snp.vek.issuer"),
        (vcek(), M::SignedByArk, "x509.signature"),
        (vlek(), M::SignedByArk, "x509.signature"),
        (vcek(), M::PssSha256, "x509.algorithm"),
        (vcek(), M::PssDisagrees, "x509.algorithm"),
        (vcek(), M::P256Key, "x509.key-type"),
        (vcek(), M::UnknownCriticalExtension, "x509.path"),
        (vcek(), M::IsAuthority, "x509.leaf-is-authority"),
    ];
    let of_all = [X::ProductName, X::Bootloader, X::Tee, X::Snp, X::Microcode];
    for (config, own) in [(vcek(), vec![X::Hwid]), (vlek(), vec![X::CspId]), (turin(), vec![X::Hwid, X::Fmc])]
    {
        for extension in of_all.into_iter().chain(own) {
            cases.push((config.clone(), M::MissingExtension(extension), "snp.vek.extension-missing"));
            cases.push((config.clone(), M::RepeatedExtension(extension), "x509.extension-duplicate"));
        }
        cases.push((config, M::RepeatedExtension(X::StructVersion), "x509.extension-duplicate"));
    }
    for (config, mistake, code) in cases {
        let what = format!("{} {:?} {mistake:?}", config.line, config.signer);
        let line = config.line;
        refused(&what, &Attempt::with(vendor(line), &MachineConfig { certificate: mistake, ..config }), code);
    }
}

#[test]
fn authorities() {
    use AuthorityMistake as M;
    let (past, future) = (UnixTime(NOW.0 - YEAR), UnixTime(NOW.0 + YEAR));
    let (before, after) = (UnixTime(NOW.0 - 1), UnixTime(NOW.0 + 1));
    let cases = [
        (M::IssuerIsNoAuthority, "x509.not-an-authority"),
        (M::IssuerMayNotCertify, "x509.key-usage"),
        (M::IssuerValidity { not_before: past, not_after: before }, "x509.expired"),
        (M::IssuerValidity { not_before: after, not_after: future }, "x509.not-yet-valid"),
        (M::IssuerNotSignedByArk, "x509.signature"),
        (M::ArkMayNotCertify, "x509.key-usage"),
        (M::ArkMayNotRevoke, "crl.key-usage"),
        (M::ArkIsNoAuthority, "x509.not-an-authority"),
        (M::ArkValidity { not_before: past, not_after: before }, "x509.expired"),
        (M::ArkValidity { not_before: after, not_after: future }, "x509.not-yet-valid"),
    ];
    for (mistake, code) in cases {
        let mistaken = vendor(GENOA).with_mistake(&mistake).expect("a vendor");
        for config in [vcek(), vlek()] {
            refused(&format!("{mistake:?} {:?}", config.signer), &Attempt::with(&mistaken, &config), code);
        }
    }
    let names = [
        ("SEV-Milan", "anchors.incomplete"),
        ("SEV-VLEK-Genoa", "anchors.duplicate"),
        ("ARK-Genoa", "anchors.duplicate"),
        ("SEV-Genoa-2", "anchors.name"),
    ];
    for (name, code) in names {
        let mistaken = vendor(GENOA).with_mistake(&M::AskCommonName(name)).expect("a vendor");
        refused(name, &Attempt::with(&mistaken, &vcek()), code);
    }
}

#[test]
fn revocation_lists() {
    use CrlMistake as M;
    let genoa = vendor(GENOA);
    let expired = M::Window { this_update: UnixTime(NOW.0 - YEAR), next_update: UnixTime(NOW.0 - 1) };
    let early = M::Window { this_update: UnixTime(NOW.0 + 1), next_update: UnixTime(NOW.0 + YEAR) };
    for (config, mistake, code) in [
        (vcek(), expired, "crl.expired"),
        (vcek(), early, "crl.not-yet-valid"),
        (vcek(), M::NoNextUpdate, "crl.malformed"),
        (vcek(), M::RevokesAsk, "crl.revoked"),
        (vlek(), M::RevokesAsvk, "crl.revoked"),
        (vcek(), M::RevokesVek, "crl.revoked"),
        (vlek(), M::RevokesVek, "crl.revoked"),
        (vcek(), M::SignedByAsk, "crl.signature"),
        (vcek(), M::IssuerCommonName("ARK-Milan"), "crl.issuer"),
        (vcek(), M::IssuerCommonName("SEV-Genoa"), "crl.issuer"),
    ] {
        let list = genoa.crl_with(&mistake).expect("a list");
        let attempt = Attempt { revocation: Revocation::Crl(list), ..Attempt::with(genoa, &config) };
        refused(&format!("{mistake:?} {:?}", config.signer), &attempt, code);
    }
    let stranger = Vendor::create(GENOA, NOW).expect("a vendor");
    let other_line = vendor(TURIN).crl_der().to_vec();
    let mut trailing = genoa.crl_der().to_vec();
    trailing.push(0);
    for (what, revocation, code) in [
        ("none", Revocation::Missing, "crl.missing"),
        ("no bytes", Revocation::Crl(Vec::new()), "crl.missing"),
        ("another vendor's", Revocation::Crl(stranger.crl_der().to_vec()), "crl.signature"),
        ("another line's", Revocation::Crl(other_line), "crl.issuer"),
        ("a byte more", Revocation::Crl(trailing), "crl.malformed"),
        ("waived without a reason", Revocation::DangerNotChecked { reason: " ".into() }, "crl.missing"),
    ] {
        refused(what, &Attempt { revocation, ..Attempt::with(genoa, &vcek()) }, code);
    }
}

/// Changes of the signed part that the firmware then signs, and of the rest.
#[test]
fn reports() {
    let genoa = vendor(GENOA);
    let machine = genoa.machine(&vcek()).expect("a machine");
    let signed = |at: usize, bytes: &[u8]| {
        let mut body = machine.body(&REPORT_DATA);
        body[at..at + bytes.len()].copy_from_slice(bytes);
        Attempt { report: machine.sign(body).expect("a report"), ..Attempt::of(genoa, &machine) }
    };
    for (what, at, bytes, code) in [
        ("version 1", 0x000, &[1, 0, 0, 0][..], "snp.format.version"),
        ("version 6", 0x000, &[6, 0, 0, 0], "snp.format.version"),
        ("policy bit 17 clear", 0x00a, &[0x01], "snp.format.policy-bit-17"),
        ("policy bit 26", 0x00b, &[0x04], "snp.format.policy-reserved"),
        ("policy bit 63", 0x00f, &[0x80], "snp.format.policy-reserved"),
        ("VMPL 4", 0x030, &[4], "snp.format.vmpl"),
        ("no algorithm", 0x034, &[0], "snp.format.signature-algorithm"),
        ("another algorithm", 0x034, &[2], "snp.format.signature-algorithm"),
        ("KEY_INFO bit 5", 0x048, &[0x20], "snp.format.key-info-reserved"),
        ("a reserved byte after KEY_INFO", 0x04c, &[1], "snp.format.reserved"),
        ("a reserved byte after CPUID", 0x18b, &[1], "snp.format.reserved"),
        ("a reserved byte after CURRENT", 0x1eb, &[1], "snp.format.reserved"),
        ("a reserved byte after COMMITTED", 0x1ef, &[1], "snp.format.reserved"),
        ("a reserved byte at the end", 0x29f, &[1], "snp.format.reserved"),
        ("signing key 2", 0x048, &[2 << 2], "snp.signer.unsupported"),
        ("no signing key", 0x048, &[7 << 2], "snp.signer.unsupported"),
        ("masked chip key", 0x048, &[2], "snp.signer.chip-key-masked"),
        ("a VLEK that names a chip", 0x048, &[1 << 2], "snp.chip-id.not-zero"),
        ("no chip", 0x1a0, &[0; 64], "snp.chip-id.zero"),
        ("another chip", 0x1a0, &[0x77; 64], "snp.chip-id.certificate-mismatch"),
        ("a processor of another line", 0x188, &[0x19, 0x01, 1], "snp.product.mismatch"),
        ("an unknown processor", 0x188, &[0x17, 0x31, 0], "snp.product.unknown-cpu"),
        ("a reserved byte of the current TCB", 0x038 + 2, &[1], "snp.tcb.reserved"),
        ("a reserved byte of the reported TCB", 0x180 + 3, &[1], "snp.tcb.reserved"),
        ("a reserved byte of the committed TCB", 0x1e0 + 4, &[1], "snp.tcb.reserved"),
        ("a reserved byte of the launch TCB", 0x1f0 + 5, &[1], "snp.tcb.reserved"),
        ("another reported boot loader", 0x180, &[0x0b], "snp.tcb.certificate-mismatch"),
        ("another reported microcode", 0x187, &[0x59], "snp.tcb.certificate-mismatch"),
    ] {
        refused(what, &signed(at, bytes), code);
    }

    let unsigned = |at: usize, bytes: &[u8]| {
        let mut attempt = Attempt::of(genoa, &machine);
        attempt.report[at..at + bytes.len()].copy_from_slice(bytes);
        attempt
    };
    for (what, at, bytes, code) in [
        ("changed report data", 0x050, &[0][..], "snp.signature.invalid"),
        ("changed measurement", 0x090, &[0], "snp.signature.invalid"),
        ("changed host data", 0x0c0, &[1], "snp.signature.invalid"),
        ("changed report id", 0x140, &[0; 32], "snp.signature.invalid"),
        ("R is zero", 0x2a0, &[0; 48], "snp.signature.scalar"),
        ("S is zero", 0x2e8, &[0; 48], "snp.signature.scalar"),
        ("R is above the order", 0x2a0, &[0xff; 48], "snp.signature.scalar"),
        ("S is above the order", 0x2e8, &[0xff; 48], "snp.signature.scalar"),
        ("R is one", 0x2a0, &one(), "snp.signature.invalid"),
        ("R has a tail", 0x2d0, &[1], "snp.format.signature-tail"),
        ("S has a tail", 0x32f, &[1], "snp.format.signature-tail"),
        ("padding", 0x330, &[1], "snp.format.padding"),
        ("the last byte", 0x49f, &[1], "snp.format.padding"),
    ] {
        refused(what, &unsigned(at, bytes), code);
    }
    for length in [0, 1, 0x2a0, 1183, 1185] {
        let mut attempt = Attempt::of(genoa, &machine);
        attempt.report.resize(length, 0);
        assert!(
            matches!(attempt.verdict().err(), Some("snp.format.length" | "evidence.unknown-format")),
            "{length}"
        );
    }
}

/// Evidence whose parts are each correct and do not belong together.
#[test]
fn combinations() {
    let genoa = vendor(GENOA);
    let machine = genoa.machine(&vcek()).expect("a machine");
    let twin = genoa.machine(&vcek()).expect("a machine");
    let provided = genoa.machine(&vlek()).expect("a machine");
    let elsewhere = vendor(TURIN).machine(&turin()).expect("a machine");
    let attempt = || Attempt::of(genoa, &machine);
    refused(
        "another machine's key",
        &Attempt { vek: twin.vek_der().to_vec(), ..attempt() },
        "snp.signature.invalid",
    );
    refused(
        "a VLEK for a VCEK",
        &Attempt { vek: provided.vek_der().to_vec(), ..attempt() },
        "snp.vek.subject",
    );
    let report = provided.report(&REPORT_DATA).expect("a report");
    refused("a VCEK for a VLEK", &Attempt { report, ..attempt() }, "snp.vek.subject");
    let both = [vendor(GENOA).root_pem(), vendor(TURIN).root_pem()].concat();
    let vek = elsewhere.vek_der().to_vec();
    let other_line = Attempt { vek, anchors: Anchors::Pem(both), ..attempt() };
    refused("another line's key", &other_line, "snp.product.mismatch");
    refused("AMD's roots", &Attempt { anchors: Anchors::Amd, ..attempt() }, "x509.unknown-issuer");
    refused("no certificate", &Attempt { vek: Vec::new(), ..attempt() }, "x509.missing");
    refused("the ASK as certificate", &Attempt { vek: ask_der(genoa), ..attempt() }, "snp.vek.subject");

    // The vendor endorses a Genoa key, the machine calls itself a Turin; and the other way round.
    refused("a Turin report of Genoa", &Attempt::with(genoa, &turin()), "snp.product.mismatch");
    refused("a Genoa report of Turin", &Attempt::with(vendor(TURIN), &vcek()), "snp.product.mismatch");
    let masked = MachineConfig { chip_key_masked: true, ..vcek() };
    refused("a masked machine", &Attempt::with(genoa, &masked), "snp.signer.chip-key-masked");
    let long_id = MachineConfig { chip_id: [7; 64], ..turin() };
    refused(
        "a Turin chip of 64 bytes",
        &Attempt::with(vendor(TURIN), &long_id),
        "snp.chip-id.certificate-mismatch",
    );

    refused(
        "a day too early",
        &Attempt { now: UnixTime(NOW.0 - DAY - 1), ..attempt() },
        "x509.not-yet-valid",
    );
    refused("a year too late", &Attempt { now: UnixTime(NOW.0 + 371 * DAY), ..attempt() }, "crl.expired");
    refused("1970", &Attempt { now: UnixTime(0), ..attempt() }, "x509.not-yet-valid");
}

/// Genuine machines that are not ours.
#[test]
fn machines() {
    let healthy = vcek().tcb;
    let low = Tcb { microcode: 0x47, ..healthy };
    let version = vcek().current_version;
    let newer = casemate_sim::FirmwareVersion { build: version.build + 1, ..version };
    let cases: Vec<(&str, MachineConfig, &str)> = vec![
        ("debug", MachineConfig { policy: 0x3_0000 | 1 << 19, ..vcek() }, "snp.guest-policy.debug"),
        (
            "migration agent",
            MachineConfig { policy: 0x3_0000 | 1 << 18, ..vcek() },
            "snp.guest-policy.migration-agent",
        ),
        ("CXL", MachineConfig { policy: 0x3_0000 | 1 << 21, ..vcek() }, "snp.guest-policy.permits"),
        ("VMPL 1", MachineConfig { vmpl: 1, ..vcek() }, "snp.vmpl.not-accepted"),
        ("asked for by the host", MachineConfig { vmpl: u32::MAX, ..vcek() }, "snp.vmpl.host-requested"),
        ("old TCB everywhere", vcek().with_all_tcbs(low), "snp.tcb.below-minimum"),
        ("old committed TCB", MachineConfig { committed_tcb: low, ..vcek() }, "snp.tcb.below-minimum"),
        ("launched on an old TCB", MachineConfig { launch_tcb: low, ..vcek() }, "snp.tcb.below-minimum"),
        (
            "runs below what it reports",
            MachineConfig { current_tcb: Tcb { snp: healthy.snp - 1, ..healthy }, ..vcek() },
            "snp.tcb.current-below-reported",
        ),
        (
            "provisional TCB",
            MachineConfig { current_tcb: Tcb { snp: healthy.snp + 1, ..healthy }, ..vcek() },
            "snp.firmware.provisional",
        ),
        (
            "provisional firmware",
            MachineConfig { current_version: newer, ..vcek() },
            "snp.firmware.provisional",
        ),
        (
            "another program",
            MachineConfig { launch_digest: [0; 48], ..vcek() },
            "snp.measurement.not-accepted",
        ),
        ("host data", MachineConfig { host_data: [1; 32], ..vcek() }, "snp.host-data.not-accepted"),
        ("an ID key", MachineConfig { id_key_digest: [1; 48], ..vcek() }, "snp.id-key.not-accepted"),
        (
            "an author key",
            MachineConfig { author_key_digest: [1; 48], author_key_enabled: true, ..vcek() },
            "snp.author-key.not-accepted",
        ),
        ("a family", MachineConfig { family_id: [1; 16], ..vcek() }, "snp.family-id.not-accepted"),
        ("an image", MachineConfig { image_id: [1; 16], ..vcek() }, "snp.image-id.not-accepted"),
    ];
    for (what, config, code) in cases {
        refused(what, &Attempt::with(vendor(GENOA), &config), code);
    }
    let mut other = Attempt::with(vendor(GENOA), &vcek());
    other.expected[63] ^= 1;
    refused("other report data", &other, "binding.report-data");
}

/// What the policy asks for, and this machine lacks.
#[test]
fn terms() {
    let genoa = vendor(GENOA);
    type Demand = fn(&mut Attempt);
    let cases: Vec<(&str, MachineConfig, Demand, &str)> = vec![
        (
            "version 5",
            MachineConfig::for_line(GENOA, 4, LAUNCH_DIGEST),
            |a| a.terms.minimum_report_version = Version::V5,
            "snp.version.below-minimum",
        ),
        (
            "alias check",
            MachineConfig { platform_info: 5, ..vcek() },
            |a| a.terms.platform_must = vec![PlatformProtection::AliasCheckComplete],
            "snp.platform.protection-missing",
        ),
        ("no SMT", vcek(), |a| a.terms.platform_may = Vec::new(), "snp.platform.weakness"),
        (
            "no SMT in the guest policy",
            vcek(),
            |a| a.terms.guest_may = Vec::new(),
            "snp.guest-policy.permits",
        ),
        ("a mitigation", vcek(), |a| a.terms.current_mitigations = 1 << 40, "snp.mitigations.missing"),
        (
            "a mitigation at launch",
            vcek(),
            |a| a.terms.launch_mitigations = 1 << 40,
            "snp.mitigations.missing",
        ),
        (
            "mitigations of version 4",
            MachineConfig::for_line(GENOA, 4, LAUNCH_DIGEST),
            |a| a.terms.current_mitigations = 1,
            "snp.mitigations.not-reported",
        ),
        (
            "another provider",
            vlek(),
            |a| a.terms.vlek_providers = vec!["CN=cc-elsewhere.example".into()],
            "snp.vlek.provider-not-accepted",
        ),
        ("a guest version", vcek(), |a| a.terms.minimum_guest_svn = 1, "snp.guest-svn.below-minimum"),
    ];
    for (what, config, demand, code) in cases {
        let mut attempt = Attempt::with(genoa, &config);
        demand(&mut attempt);
        refused(what, &attempt, code);
    }
    let unknown = Cpuid { family: 0x1a, model: 0x50, stepping: 0 };
    refused(
        "Venice",
        &Attempt::with(genoa, &MachineConfig { cpuid: unknown, ..vcek() }),
        "snp.product.unknown-cpu",
    );
}

/// The number one, little endian.
fn one() -> [u8; 48] {
    let mut number = [0; 48];
    number[0] = 1;
    number
}

/// The second certificate of the bundle.
fn ask_der(vendor: &Vendor) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::pem_slice_iter(vendor.root_pem().as_bytes())
        .nth(1)
        .expect("an ASK")
        .expect("PEM")
        .to_vec()
}
