//! A machine and its devices: a simulated SEV-SNP machine, and simulated GPUs. Both are signed; nothing of a real device is
//! known to be bound so.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::nvidia::{GpuEvidence, NvidiaAnchors, set_sha256};
use casemate_attest::snp::{ProductLine, SnpPolicy};
use casemate_attest::{
    Binding, Endorsements, Evidence, Expected, Outcome, Policy, Revocation, TrustAnchors, UnixTime, Verified,
    verify,
};
use casemate_protocol::devices::{self, AttestedMachine, DeviceRule, DevicesRefused, DevicesTable};
use casemate_protocol::document::DocumentDevices;
use casemate_protocol::statement::{
    self, AttestedStatement, Channel, EngineRule, EngineStatement, Expectation, KeyOrigin, ModelRule,
    ModelStatement, RuntimeStatement, Stated, TlsKeyRule,
};
use casemate_sim::nvidia::{Gpu, NvidiaVendor, Report};
use casemate_sim::{Machine, MachineConfig, Vendor};

/// 2026-01-01T12:00:00Z
const NOON: UnixTime = UnixTime(1_767_268_800);
const CLIENT_NONCE: [u8; 32] = [0x11; 32];
const TLS_KEY: [u8; 32] = [0x22; 32];

/// As the server's policy and the client's have it.
const TERMS: &str = r#"
[nvidia]
architectures = ["hopper"]
device = { any = "keys are made anew in each run" }
driver-version = ["570.10.01"]
vbios-version = ["96.00.9F.00.01"]
measurements = { any = "the manifests decide" }
"#;

struct Gpus {
    vendor: NvidiaVendor,
    anchors: NvidiaAnchors,
    two: [Gpu; 2],
}

static GPUS: LazyLock<Gpus> = LazyLock::new(|| {
    let vendor = NvidiaVendor::create(NOON).expect("a vendor");
    let two = [vendor.gpu().expect("a GPU"), vendor.gpu().expect("a GPU")];
    Gpus { anchors: NvidiaAnchors::danger_only_pem(&vendor.root_pem()).expect("roots"), vendor, two }
});

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

fn runtime(nonce: Stated, device_evidence_sha256: Stated) -> RuntimeStatement {
    RuntimeStatement {
        format: statement::FORMAT,
        nonce,
        tls_spki_sha256: Stated::Is(TLS_KEY),
        tls_key_origin: KeyOrigin::Enclave,
        ohttp_config_sha256: Stated::None,
        receipt_key_sha256: Stated::None,
        models: vec![ModelStatement { id: "m".to_owned(), manifest_sha256: Stated::Is([3; 32]) }],
        engine: EngineStatement::Embedded,
        device_evidence_sha256,
        vtpm_key_sha256: Stated::None,
        release_policy_sha256: Stated::None,
        software: "casemate 0.1.0".to_owned(),
        not_after: NOON.0 + 300,
    }
}

fn models() -> ModelRule {
    ModelRule::OneOf(vec![[3; 32]])
}

fn attested(device_evidence_sha256: Stated) -> AttestedStatement {
    let document =
        runtime(Stated::Is(CLIENT_NONCE), device_evidence_sha256).to_canonical().expect("a document");
    let expected = Expectation {
        nonce: CLIENT_NONCE,
        channel: Channel::Tls { spki_sha256: TLS_KEY, rule: TlsKeyRule::MadeInside },
        models: models(),
        engine: EngineRule::Embedded,
    };
    statement::check(&cpu(&document), &document, &expected, NOON).expect("attested")
}

/// Both members of a document that has these GPUs with their reports: their digest, and themselves.
fn shown(reports: &[(&Gpu, Report)]) -> (Stated, DocumentDevices) {
    let ocsp = GPUS.vendor.answers(&GPUS.two).expect("answers");
    let rim = GPUS.vendor.manifests().expect("manifests");
    let mut devices = DocumentDevices::endorsed(
        ocsp.iter().map(Vec::as_slice),
        rim.iter().map(|manifest| manifest.as_bytes()),
    );
    let mut digests = Vec::new();
    for (gpu, report) in reports {
        let report = gpu.sign(report).expect("a report");
        let chain = gpu.chain_pem().as_bytes();
        digests.push(GpuEvidence::parse(&report, chain).expect("evidence").sha256());
        devices.push(&report, chain);
    }
    (Stated::Is(set_sha256(digests)), devices)
}

/// Fresh for our client.
fn fresh() -> Report {
    Report::new(devices::nonce(Stated::Is(CLIENT_NONCE)))
}

fn one() -> (Stated, DocumentDevices) {
    shown(&[(&GPUS.two[0], fresh())])
}

fn demanded(count: usize) -> DeviceRule {
    let policy = Policy::from_toml(TERMS).expect("a policy");
    DeviceRule::new(Some(&DevicesTable { count }), &policy).expect("a rule")
}

fn check(
    stated: Stated,
    devices: Option<&DocumentDevices>,
    rule: &DeviceRule,
) -> Result<AttestedMachine, DevicesRefused> {
    devices::check(attested(stated), devices, rule, &GPUS.anchors, NOON)
}

#[track_caller]
fn refused(result: Result<AttestedMachine, DevicesRefused>, rule: &str, code: &str) {
    let refused = result.expect_err("must be refused");
    assert_eq!(refused.reason.code(), code);
    let failed: Vec<_> = refused.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
    let failed = failed.first().map_or("none", |check| check.rule.id);
    assert_eq!(failed, rule, "{code}");
    let ours = |check: &&casemate_attest::Check| check.rule.id.starts_with("CH-");
    assert_eq!(refused.checks.iter().filter(ours).count(), devices::RULES.len(), "every rule is listed");
}

#[test]
fn devices_that_the_machine_states_and_that_answer_its_client_are_its_own() {
    let (stated, devices) = one();
    let machine = check(stated, Some(&devices), &demanded(1)).expect("one machine");
    let of_machine = machine.checks().iter().map(|check| check.rule.id).filter(|id| id.starts_with("CH-"));
    assert_eq!(of_machine.collect::<Vec<_>>(), ["CH-9", "CH-10", "CH-11"]);
    assert!(machine.checks().iter().any(|check| check.rule.id == "NV-19"));
    assert!(machine.checks().iter().any(|check| check.rule.id == "RIM-07"));
    let set = machine.devices().expect("devices");
    assert!(machine.statement().simulated() && set.simulated());
    assert_eq!(machine.valid_until().0, NOON.0 + 300, "the statement ends first");

    let (stated, devices) = shown(&[(&GPUS.two[1], fresh()), (&GPUS.two[0], fresh())]);
    assert!(check(stated, Some(&devices), &demanded(2)).is_ok());
    assert!(check(Stated::None, None, &DeviceRule::None).expect("a machine").devices().is_none());
}

#[test]
fn other_numbers_than_demanded_are_refused() {
    let (stated, devices) = one();
    refused(check(stated, Some(&devices), &demanded(2)), "none", "nvidia.set.count");
    refused(check(Stated::None, None, &demanded(1)), "CH-9", "devices.missing");
    refused(check(stated, None, &demanded(1)), "CH-9", "devices.missing");
    refused(check(Stated::None, Some(&devices), &demanded(1)), "CH-9", "devices.missing");
    refused(check(stated, Some(&devices), &DeviceRule::None), "CH-9", "devices.not-expected");
    refused(check(stated, None, &DeviceRule::None), "CH-9", "devices.not-expected");
    refused(check(Stated::None, Some(&devices), &DeviceRule::None), "CH-9", "devices.not-expected");
    let (stated, devices) = shown(&[(&GPUS.two[0], fresh()), (&GPUS.two[0], fresh())]);
    refused(check(stated, Some(&devices), &demanded(2)), "none", "nvidia.set.duplicate");
}

#[test]
fn devices_that_the_machine_does_not_state_are_refused() {
    let (stated, _) = one();
    let (_, other) = shown(&[(&GPUS.two[1], fresh())]);
    refused(check(stated, Some(&other), &demanded(1)), "CH-11", "devices.not-stated");
    let (_, again) = one();
    refused(check(stated, Some(&again), &demanded(1)), "CH-11", "devices.not-stated");
    let report = GPUS.two[0].sign(&fresh()).expect("a report");
    let chain = GPUS.two[0].chain_pem().as_bytes();
    let digest = GpuEvidence::parse(&report, chain).expect("evidence").sha256();
    let (_, mut devices) = shown(&[]);
    devices.push(&report, chain);
    let bare = check(Stated::Is(digest), Some(&devices), &demanded(1));
    refused(bare, "CH-11", "devices.not-stated");
    let twice = check(Stated::Is(set_sha256([digest, digest])), Some(&devices), &demanded(1));
    refused(twice, "CH-11", "devices.not-stated");
    assert!(check(Stated::Is(set_sha256([digest])), Some(&devices), &demanded(1)).is_ok());
}

#[test]
fn devices_that_answer_somebody_else_are_refused() {
    let others = [Stated::Is([0x12; 32]), Stated::Is([0; 32]), Stated::None].map(devices::nonce);
    for nonce in others.into_iter().chain([CLIENT_NONCE]) {
        let (stated, devices) = shown(&[(&GPUS.two[0], Report::new(nonce))]);
        refused(check(stated, Some(&devices), &demanded(1)), "NV-14", "nvidia.nonce");
    }
}

#[test]
fn devices_that_are_not_genuine_or_not_ours_are_refused() {
    let (stated, devices) = shown(&[(&GPUS.two[0], Report { driver: Some("570.10.02"), ..fresh() })]);
    refused(check(stated, Some(&devices), &demanded(1)), "NV-11", "nvidia.driver.not-accepted");
    let (stated, good) = one();
    let with = |change: fn(&mut DocumentDevices)| {
        let mut devices = good.clone();
        change(&mut devices);
        check(stated, Some(&devices), &demanded(1))
    };
    refused(with(|d| d.ocsp.clear()), "RIM-04", "ocsp.missing");
    refused(with(|d| d.rim.clear()), "NV-16", "nvidia.manifest.missing");
    refused(with(|d| d.rim.truncate(1)), "NV-17", "nvidia.manifest.missing");
    refused(
        with(|d| d.evidence[0].report.replace_range(100..104, "////")),
        "NV-06",
        "nvidia.signature.invalid",
    );
    refused(with(|d| d.evidence[0].report = "?".into()), "none", "document.base64");
    refused(with(|d| d.evidence[0].chain.clear()), "none", "nvidia.chain.count");
}

/// NVIDIA's roots beside a simulated CPU: nothing of the devices is looked at.
#[test]
fn real_devices_do_not_belong_to_a_simulated_machine() {
    let (stated, devices) = one();
    let result =
        devices::check(attested(stated), Some(&devices), &demanded(1), &NvidiaAnchors::nvidia(), NOON);
    refused(result, "CH-10", "devices.mixed");
}

#[test]
fn a_kept_document_is_checked_for_its_devices_too() {
    let offline = |nonce: Stated, answered: Stated, rule: &DeviceRule| {
        let (stated, devices) = shown(&[(&GPUS.two[0], Report::new(devices::nonce(answered)))]);
        let document = runtime(nonce, stated).to_canonical().expect("a document");
        let verified = cpu(&document);
        let (parsed, _) =
            statement::check_offline(&verified, &document, &models(), &EngineRule::Embedded, NOON)
                .expect("ours");
        devices::check_offline(&verified, &parsed, Some(&devices), rule, &GPUS.anchors, NOON)
            .map_err(|refused| refused.reason.code())
    };
    let client = Stated::Is(CLIENT_NONCE);
    assert!(offline(client, client, &demanded(1)).is_ok());
    assert!(offline(Stated::None, Stated::None, &demanded(1)).is_ok(), "made ahead, for nobody");
    assert_eq!(offline(client, Stated::None, &demanded(1)), Err("nvidia.nonce"));
    assert_eq!(offline(Stated::None, client, &demanded(1)), Err("nvidia.nonce"));
    assert_eq!(offline(client, client, &DeviceRule::None), Err("devices.not-expected"));
}

#[test]
fn one_table_without_the_other_is_no_rule() {
    let terms = Policy::from_toml(TERMS).expect("a policy");
    let none = Policy::for_snp(SnpPolicy::strict(Expected::OneOf(vec![[0x32; 48]])));
    let code = |table: Option<usize>, policy: &Policy| {
        let table = table.map(|count| DevicesTable { count });
        DeviceRule::new(table.as_ref(), policy).map_err(|error| error.code())
    };
    assert_eq!(code(None, &none), Ok(DeviceRule::None));
    assert!(code(Some(8), &terms).is_ok());
    assert_eq!(code(None, &terms), Err("policy.devices-without-count"));
    assert_eq!(code(Some(1), &none), Err("policy.devices-without-terms"));
    for count in [0, 65] {
        assert_eq!(code(Some(count), &terms), Err("policy.devices-count"));
    }
}

/// The formulas, written out: whoever changes one changes what machines bind.
#[test]
fn the_formulas_are_those_of_the_specification() {
    use sha2::{Digest, Sha256};
    let nonce: [u8; 32] = Sha256::digest([&b"casemate/device-nonce/v1\0"[..], &CLIENT_NONCE].concat()).into();
    assert_eq!(devices::nonce(Stated::Is(CLIENT_NONCE)), nonce);
    let none: [u8; 32] = Sha256::digest(b"casemate/device-nonce/v1\0").into();
    assert_eq!(devices::nonce(Stated::None), none);

    let gpu = &GPUS.two[0];
    let report = gpu.report(&nonce).expect("a report");
    let evidence = GpuEvidence::parse(&report, gpu.chain_pem().as_bytes()).expect("evidence");
    let mut message = b"casemate/device-evidence/v1\0".to_vec();
    let mut push = |part: &[u8]| {
        message.extend((part.len() as u32).to_be_bytes());
        message.extend(part);
    };
    push(&report);
    for section in gpu.chain_pem().split("-----BEGIN CERTIFICATE-----").skip(1) {
        let base64: String =
            section.split("-----END").next().unwrap_or_default().split_whitespace().collect();
        push(&BASE64_STANDARD.decode(base64).expect("base64"));
    }
    let digest: [u8; 32] = Sha256::digest(&message).into();
    assert_eq!(evidence.sha256(), digest);

    let (low, high) = ([1; 32], [2; 32]);
    let set: [u8; 32] = Sha256::digest([&b"casemate/device-set/v1\0"[..], &low, &high].concat()).into();
    assert_eq!(set_sha256([high, low]), set, "whatever the order");
}
