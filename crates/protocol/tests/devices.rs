//! A machine and its devices: a simulated SEV-SNP machine, and GPUs of a made-up NVIDIA. Both are signed; nothing of a real
//! device is known to be bound so.

#[allow(dead_code)] // the cases of casemate-attest use the rest
#[path = "../../attest/tests/nvidia/vendor.rs"]
mod vendor;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use casemate_attest::nvidia::{
    Architecture, GpuEvidence, GpuRevocation, NvidiaEndorsements, NvidiaPolicy, VerifiedSet, set_sha256,
    verify_gpu, verify_set,
};
use casemate_attest::snp::{ProductLine, SnpPolicy};
use casemate_attest::{
    Binding, Danger, Endorsements, Evidence, Expected, Outcome, Policy, Revocation, TrustAnchors, Verified,
    verify,
};
use casemate_protocol::devices::{self, AttestedMachine, DevicesRefused};
use casemate_protocol::statement::{
    self, AttestedStatement, Expectation, KeyOrigin, ModelRule, ModelStatement, RuntimeStatement, Stated,
    TlsKeyRule,
};
use casemate_sim::nvidia::Report;
use casemate_sim::{Machine, MachineConfig, Vendor};
use libtest_mimic::{Arguments, Trial};
use vendor::{NOON, VENDOR, good_report};

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        trial("devices that the machine states and that answer its client are its own", its_own),
        trial("devices that the machine does not state are refused", not_stated),
        trial("devices that answer somebody else are refused", another_nonce),
        trial("the formulas are those of the specification", formulas),
        trial("real devices do not belong to a simulated machine", mixed)
            .with_ignored_flag(!recorded().is_dir()),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn recorded() -> PathBuf {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors").into();
    let vectors = std::env::var_os("CASEMATE_VECTORS").unwrap_or_else(beside);
    Path::new(&vectors).join("nvidia/h100_sample")
}

const CLIENT_NONCE: [u8; 32] = [0x11; 32];
const TLS_KEY: [u8; 32] = [0x22; 32];

static CPU: LazyLock<(Machine, TrustAnchors)> = LazyLock::new(|| {
    let vendor = Vendor::create(ProductLine::Genoa, NOON).expect("a vendor");
    let machine = vendor.machine(&MachineConfig::new([0x32; 48])).expect("a machine");
    let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("roots");
    (machine, anchors)
});

/// Verified evidence of a CPU that binds this document.
fn cpu(document: &str) -> Verified {
    let (machine, anchors) = &*CPU;
    let report_data = statement::report_data(document);
    let report = machine.report(&report_data).expect("a report");
    let evidence = Evidence::parse(&report).expect("a report");
    let revocation = Revocation::Crl(machine.crl_der().to_vec());
    let endorsements = Endorsements::snp(machine.vek_der().to_vec(), revocation);
    let authentic = verify(&evidence, &endorsements, anchors, NOON).expect("genuine");
    let policy = Policy::for_snp(SnpPolicy::strict(Expected::OneOf(vec![[0x32; 48]])));
    authentic.appraise(&policy, &Binding::report_data(report_data)).expect("ours")
}

fn attested(device_evidence_sha256: Stated) -> AttestedStatement {
    let statement = RuntimeStatement {
        format: statement::FORMAT,
        nonce: Stated::Is(CLIENT_NONCE),
        tls_spki_sha256: Stated::Is(TLS_KEY),
        tls_key_origin: KeyOrigin::Enclave,
        ohttp_config_sha256: Stated::None,
        receipt_key_sha256: Stated::None,
        models: vec![ModelStatement { id: "m".to_owned(), manifest_sha256: Stated::Is([3; 32]) }],
        device_evidence_sha256,
        release_policy_sha256: Stated::None,
        software: "casemate 0.1.0".to_owned(),
        not_after: NOON.0 + 300,
    };
    let document = statement.to_canonical().expect("a document");
    let expected = Expectation {
        nonce: CLIENT_NONCE,
        tls_spki_sha256: TLS_KEY,
        tls_key: TlsKeyRule::MadeInside,
        models: ModelRule::OneOf(vec![[3; 32]]),
    };
    statement::check(&cpu(&document), &document, &expected, NOON).expect("attested")
}

fn evidence(nonce: [u8; 32], measured: u8) -> GpuEvidence {
    let mut report = Report { nonce, ..good_report() };
    report.measurements[0] = [measured; 48];
    GpuEvidence::parse(&VENDOR.report(&report), &VENDOR.chain()).expect("evidence")
}

fn any<T>() -> Expected<T> {
    Expected::any("a test of another rule")
}

fn verified(evidence: &GpuEvidence, nonce: &[u8; 32]) -> VerifiedSet {
    let allow = || Danger::Allow { reason: "a test of another rule".to_owned() };
    let policy = Policy::for_nvidia(NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow(),
        vbios_manifest_missing: allow(),
        device: any(),
        driver_version: any(),
        vbios_version: any(),
        measurements: any(),
    });
    let revocation = GpuRevocation::DangerNotChecked { reason: "a test of another rule".to_owned() };
    let authentic = verify_gpu(evidence, &NvidiaEndorsements { revocation }, &VENDOR.anchors, NOON);
    let device = authentic.expect("genuine").appraise(&policy, &[], nonce).expect("ours");
    verify_set(vec![device], 1).expect("one device")
}

fn code(result: Result<AttestedMachine, DevicesRefused>) -> (&'static str, String) {
    let refused = result.expect_err("must be refused");
    assert_eq!(refused.checks.len(), devices::RULES.len());
    let failed = refused.checks.iter().find(|check| check.outcome == Outcome::Fail).expect("a failed rule");
    (refused.reason.code(), failed.rule.id.to_owned())
}

fn its_own() {
    let nonce = devices::nonce(&CLIENT_NONCE);
    let evidence = evidence(nonce, 0);
    let set = verified(&evidence, &nonce);
    let statement = attested(Stated::Is(set_sha256([evidence.sha256()])));
    let machine = devices::check(statement, set).expect("one machine");
    assert_eq!(
        machine.checks().iter().map(|check| check.rule.id).collect::<Vec<_>>(),
        ["CH-9", "CH-10", "CH-11"]
    );
    assert!(machine.checks().iter().all(|check| check.outcome == Outcome::Pass));
    assert!(machine.statement().simulated() && machine.devices().simulated());
    assert_eq!(machine.valid_until().0, NOON.0 + 300, "the statement ends first");
}

fn not_stated() {
    let nonce = devices::nonce(&CLIENT_NONCE);
    let ours = evidence(nonce, 0);
    let other = evidence(nonce, 1);
    let expected = ("devices.not-stated", "CH-10".to_owned());
    let stated = || attested(Stated::Is(set_sha256([ours.sha256()])));
    assert_eq!(code(devices::check(stated(), verified(&other, &nonce))), expected);
    assert_eq!(code(devices::check(attested(Stated::None), verified(&ours, &nonce))), expected, "none");
    let twice = attested(Stated::Is(set_sha256([ours.sha256(), ours.sha256()])));
    assert_eq!(code(devices::check(twice, verified(&ours, &nonce))), expected, "one of two");
    let bare = attested(Stated::Is(ours.sha256()));
    assert_eq!(code(devices::check(bare, verified(&ours, &nonce))), expected, "not the set's digest");
}

fn another_nonce() {
    let expected = ("devices.nonce", "CH-11".to_owned());
    for nonce in [CLIENT_NONCE, [0; 32], devices::nonce(&[0x12; 32])] {
        let evidence = evidence(nonce, 0);
        let statement = attested(Stated::Is(set_sha256([evidence.sha256()])));
        assert_eq!(code(devices::check(statement, verified(&evidence, &nonce))), expected);
    }
}

/// A recorded GPU beside a simulated CPU.
fn mixed() {
    use casemate_attest::UnixTime;
    use casemate_attest::nvidia::NvidiaAnchors;

    let folder = recorded();
    let report = std::fs::read_to_string(folder.join("hopperAttestationReport.txt")).expect("a report");
    let report = hex::decode(report.trim()).expect("hexadecimal");
    let chain = std::fs::read(folder.join("hopperCertChain.txt")).expect("a chain");
    let evidence = GpuEvidence::parse(&report, &chain).expect("evidence");
    let now = UnixTime(1_788_264_000);
    let revocation = GpuRevocation::DangerNotChecked { reason: "recorded".to_owned() };
    let authentic = verify_gpu(&evidence, &NvidiaEndorsements { revocation }, &NvidiaAnchors::nvidia(), now);
    let nonce = report[4..36].try_into().expect("32 bytes");
    let allow = || Danger::Allow { reason: "recorded".to_owned() };
    let policy = Policy::for_nvidia(NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow(),
        vbios_manifest_missing: allow(),
        device: any(),
        driver_version: any(),
        vbios_version: any(),
        measurements: any(),
    });
    let device = authentic.expect("genuine").appraise(&policy, &[], &nonce).expect("ours");
    let set = verify_set(vec![device], 1).expect("one device");
    let statement = attested(Stated::Is(set.evidence_sha256()));
    assert_eq!(code(devices::check(statement, set)), ("devices.mixed", "CH-9".to_owned()));
}

/// Both formulas, written out: whoever changes one changes what machines bind.
fn formulas() {
    use sha2::{Digest, Sha256};
    let nonce: [u8; 32] = Sha256::digest([&b"casemate/device-nonce/v1\0"[..], &CLIENT_NONCE].concat()).into();
    assert_eq!(devices::nonce(&CLIENT_NONCE), nonce);

    let evidence = evidence(nonce, 0);
    let chain = String::from_utf8(VENDOR.chain()).expect("PEM");
    let mut message = b"casemate/device-evidence/v1\0".to_vec();
    let mut push = |part: &[u8]| {
        message.extend((part.len() as u32).to_be_bytes());
        message.extend(part);
    };
    push(evidence.report());
    for section in chain.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let base64: String =
            section.split("-----END").next().unwrap_or_default().split_whitespace().collect();
        use base64::Engine;
        push(&base64::prelude::BASE64_STANDARD.decode(base64).expect("base64"));
    }
    let digest: [u8; 32] = Sha256::digest(&message).into();
    assert_eq!(evidence.sha256(), digest);

    let (low, high) = ([1; 32], [2; 32]);
    let set: [u8; 32] = Sha256::digest([&b"casemate/device-set/v1\0"[..], &low, &high].concat()).into();
    assert_eq!(set_sha256([high, low]), set, "whatever the order");
}
