//! Recorded evidence of real NVIDIA devices, case by case: what must pass, and what must be refused with which code.
//!
//! Every case starts from a recording and changes at most one thing about it.

mod made;
mod manifests;
#[path = "../recorded/mod.rs"]
mod recorded;
mod revocation;
mod sweeps;
mod vendor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::nvidia::{
    Architecture, GpuEvidence, GpuRevocation, NvidiaAnchors, NvidiaEndorsements, NvidiaPolicy, VerifiedGpu,
    verify_gpu, verify_set,
};
use casemate_attest::{Danger, Expected, Outcome, Policy, UnixTime};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::file;

/// Name, what is done, expected answer.
type Case = (&'static str, fn() -> String, &'static str);

const NOW: UnixTime = UnixTime(1_788_264_000); // 2026-09-01T12:00:00Z

const H100: [&str; 2] = ["h100_sample/hopperAttestationReport.txt", "h100_sample/hopperCertChain.txt"];
const SDK: [&str; 2] = ["attestation-sdk/hopperAttestationReport.txt", "attestation-sdk/hopperCertChain.txt"];
const GPU: &str = "attestation-sdk/sample_attestation_data/gpu";
const SWITCH: &str = "attestation-sdk/sample_attestation_data/switch";
const SETS: &str = "attestation-sdk/serialized_test_evidence";

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none_or(|folder| !folder.join("nvidia").is_dir());
    let recorded =
        [DEVICES, CHAINS, ENDORSEMENTS, TERMS, SETS_OF_DEVICES, manifests::MANIFESTS, manifests::COMPARED];
    let mut trials: Vec<_> = recorded.concat().into_iter().map(trial).collect();
    trials.push(Trial::test("every bit of a report", || sweeps::report_bits(&device(H100))));
    trials.push(Trial::test("every bit of a switch's report", || sweeps::report_bits(&switch())));
    trials.push(Trial::test("every bit of the certificates", || sweeps::chain_bits(&device(H100))));
    trials
        .push(Trial::test("every prefix of the report and of the chain", || sweeps::prefixes(&device(H100))));
    trials.push(Trial::test("every byte of a manifest", sweeps::manifest_bytes));
    trials.push(Trial::test("every prefix of a manifest", sweeps::manifest_prefixes));
    trials.push(Trial::test("every rule of a verified device is listed", every_rule));
    let mut trials: Vec<_> = trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect();
    trials.extend([made::GOLDEN, revocation::OCSP].concat().into_iter().map(trial));
    trials.push(Trial::test("every bit and every prefix of an answer", revocation::every_bit));
    trials.push(Trial::test("a verdict ends with the answer that ends first", revocation::until));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial((name, answer, expected): Case) -> Trial {
    Trial::test(name, move || {
        let found = answer();
        if found == expected {
            Ok(())
        } else {
            Err(Failed::from(format!("{found:?}, expected {expected:?}")))
        }
    })
}

/// A report and the chain that came with it.
#[derive(Clone)]
struct Recording {
    report: Vec<u8>,
    chain: Vec<u8>,
}

fn text(path: &str) -> Vec<u8> {
    file(&format!("nvidia/{path}"))
}

fn device([report, chain]: [&str; 2]) -> Recording {
    let report = String::from_utf8(text(report)).expect("text");
    Recording { report: hex::decode(report.trim()).expect("hexadecimal"), chain: text(chain) }
}

fn sample(report: &str, chain: &str) -> Recording {
    device([&format!("{GPU}/{report}"), &format!("{GPU}/{chain}")])
}

fn switch() -> Recording {
    device([&format!("{SWITCH}/switchAttestationReport.txt"), &format!("{SWITCH}/switchCertChain.txt")])
}

fn coco() -> Recording {
    device(["trustee/hopper_coco_report1.txt", "trustee/hopper_coco_certs1.txt"])
}

/// The devices of a serialized file.
fn serialized(path: &str) -> Vec<Recording> {
    let document: serde_json::Value = serde_json::from_slice(&text(path)).expect("JSON");
    let read = |device: &serde_json::Value, key: &str| {
        BASE64_STANDARD.decode(device[key].as_str().expect("text")).expect("base64")
    };
    let devices = document.as_array().expect("a list").iter();
    devices
        .map(|device| Recording { report: read(device, "evidence"), chain: read(device, "certificate") })
        .collect()
}

fn not_checked() -> NvidiaEndorsements {
    NvidiaEndorsements {
        revocation: GpuRevocation::DangerNotChecked { reason: "recorded evidence".to_owned() },
    }
}

fn any<T>() -> Expected<T> {
    Expected::any("a test of one rule")
}

/// Any device that reports its firmware identity.
fn terms() -> NvidiaPolicy {
    NvidiaPolicy {
        architectures: vec![Architecture::Hopper, Architecture::Blackwell, Architecture::Ls10],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow(),
        vbios_manifest_missing: allow(),
        device: any(),
        driver_version: any(),
        vbios_version: any(),
        measurements: any(),
    }
}

fn nonce(case: &Recording) -> [u8; 32] {
    case.report[4..36].try_into().expect("a report")
}

fn judge(
    case: &Recording,
    endorsements: &NvidiaEndorsements,
    now: UnixTime,
    policy: &NvidiaPolicy,
    nonce: &[u8; 32],
) -> Result<VerifiedGpu, &'static str> {
    let evidence = GpuEvidence::parse(&case.report, &case.chain).map_err(|error| error.code())?;
    let authentic = verify_gpu(&evidence, endorsements, &NvidiaAnchors::nvidia(), now)
        .map_err(|rejected| rejected.code())?;
    authentic.appraise(&Policy::for_nvidia(policy.clone()), &[], nonce).map_err(|denied| denied.code())
}

fn answer(result: Result<VerifiedGpu, &'static str>) -> String {
    match result {
        Ok(verified) => {
            let claims = verified.claims();
            let driver = claims.driver_version.as_deref().unwrap_or("no driver");
            format!("verified: {} {driver}", claims.architecture)
        }
        Err(code) => code.to_owned(),
    }
}

fn with(case: &Recording, change: impl FnOnce(&mut NvidiaPolicy)) -> String {
    let mut policy = terms();
    change(&mut policy);
    answer(judge(case, &not_checked(), NOW, &policy, &nonce(case)))
}

fn plain(case: &Recording) -> String {
    with(case, |_| {})
}

fn allow() -> Danger {
    Danger::Allow { reason: "a test of another rule".to_owned() }
}

/// Every recorded device.
const DEVICES: &[Case] = &[
    ("h100_sample", || plain(&device(H100)), "verified: hopper 550.90.07"),
    (
        "trustee/hopper: the same device",
        || plain(&device(["trustee/hopperAttestationReport.txt", "trustee/hopper_cert_chain_case1.txt"])),
        "verified: hopper 550.90.07",
    ),
    ("attestation-sdk/hopper", || plain(&device(SDK)), "verified: hopper 580.159.03"),
    (
        "gpu/hopper: driver 535 without FWID",
        || plain(&sample("hopperAttestationReport.txt", "hopperCertChain.txt")),
        "nvidia.firmware-id.missing",
    ),
    (
        "gpu/hopper: driver 535 without FWID, allowed",
        || {
            with(&sample("hopperAttestationReport.txt", "hopperCertChain.txt"), |p| {
                p.firmware_id_missing = allow();
            })
        },
        "verified: hopper 535.86.09",
    ),
    (
        "gpu/hopperExpired: the device is genuine",
        || plain(&sample("hopperAttestationReportExpired.txt", "hopperCertChainExpired.txt")),
        "verified: hopper 570.124.03",
    ),
    (
        "gpu/hopperInvalidSignature",
        || plain(&sample("hopperAttestationReportInvalidSignature.txt", "hopperCertChain.txt")),
        "nvidia.signature.invalid",
    ),
    (
        "gpu/blackwell",
        || plain(&sample("blackwellAttestationReport.txt", "blackwellCertChain.txt")),
        "verified: blackwell 575.32",
    ),
    ("switch/switch: no FWID", || plain(&switch()), "nvidia.firmware-id.missing"),
    (
        "switch/switch: no FWID, allowed",
        || with(&switch(), |p| p.firmware_id_missing = allow()),
        "verified: ls10 no driver",
    ),
    (
        "switch/switchInvalidSignature",
        || {
            let report = format!("{SWITCH}/switchAttestationReportInvalidSignature.txt");
            plain(&device([&report, &format!("{SWITCH}/switchCertChain.txt")]))
        },
        "nvidia.signature.invalid",
    ),
    (
        "attestation-sdk/switch",
        || {
            let files =
                ["attestation-sdk/switchAttestationReport.txt", "attestation-sdk/switchCertChain.txt"];
            with(&device(files), |p| p.firmware_id_missing = allow())
        },
        "verified: ls10 no driver",
    ),
    ("trustee/hopper_coco: a byte after the signature", || plain(&coco()), "nvidia.format.trailing"),
    (
        "trustee/hopper_coco: without that byte",
        || {
            let mut case = coco();
            case.report.pop();
            plain(&case)
        },
        "verified: hopper 580.95.05",
    ),
    (
        "evidence_hopper_590_12",
        || plain(&serialized("attestation-sdk/evidence_hopper_590_12.json")[0]),
        "verified: hopper 590.12",
    ),
    (
        "serialized/hopper_evidence",
        || plain(&serialized(&format!("{SETS}/hopper_evidence.json"))[0]),
        "verified: hopper 590.12",
    ),
    (
        "serialized/hopper_evidence_cert_hold: nobody asked for revocation",
        || plain(&serialized(&format!("{SETS}/hopper_evidence_cert_hold.json"))[0]),
        "verified: hopper 570.86.10",
    ),
    (
        "serialized/switch_evidence_ls10",
        || {
            let device = &serialized(&format!("{SETS}/switch_evidence_ls10.json"))[0];
            with(device, |p| p.firmware_id_missing = allow())
        },
        "verified: ls10 no driver",
    ),
];

fn chained(path: &str) -> String {
    plain(&Recording { chain: text(path), ..device(H100) })
}

fn sections(chain: &[u8]) -> Vec<String> {
    let chain = String::from_utf8(chain.to_vec()).expect("text");
    let sections = chain.split("-----BEGIN").skip(1);
    sections.map(|section| format!("-----BEGIN{section}\n")).collect()
}

fn rearranged(change: impl FnOnce(&mut Vec<String>)) -> String {
    let case = device(H100);
    let mut chain = sections(&case.chain);
    change(&mut chain);
    plain(&Recording { chain: chain.concat().into_bytes(), ..case })
}

/// Chains with one mistake. The report is genuine.
const CHAINS: &[Case] = &[
    (
        "chain: trustee case 2, the root only",
        || chained("trustee/hopper_cert_chain_case2.txt"),
        "nvidia.chain.count",
    ),
    (
        "chain: trustee case 3, no intermediate",
        || chained("trustee/hopper_cert_chain_case3.txt"),
        "nvidia.chain.count",
    ),
    (
        "chain: trustee case 4, no leaf",
        || chained("trustee/hopper_cert_chain_case4.txt"),
        "nvidia.chain.count",
    ),
    ("chain: empty", || rearranged(Vec::clear), "nvidia.chain.count"),
    ("chain: the root twice", || rearranged(|c| c.push(c[4].clone())), "nvidia.chain.count"),
    ("chain: leaf and device exchanged", || rearranged(|c| c.swap(0, 1)), "nvidia.chain.architecture"),
    ("chain: root in front", || rearranged(|c| c.rotate_right(1)), "nvidia.chain.architecture"),
    (
        "chain: of another Hopper",
        || plain(&Recording { chain: device(SDK).chain, ..device(H100) }),
        "nvidia.signature.invalid",
    ),
    (
        "chain: leaf of another Hopper",
        || rearranged(|c| c[0] = sections(&device(SDK).chain)[0].clone()),
        "x509.unknown-issuer",
    ),
    (
        "chain: of a switch",
        || plain(&Recording { chain: switch().chain, ..device(H100) }),
        "nvidia.signature.invalid",
    ),
    (
        "chain: provisioner of a switch",
        || rearranged(|c| c[2] = sections(&switch().chain)[2].clone()),
        "nvidia.chain.architecture",
    ),
    (
        "chain: another root of NVIDIA's",
        || {
            let root = String::from_utf8(file("roots/nvidia/verifier_RIM_root.pem")).expect("text");
            rearranged(|c| c[4] = root)
        },
        "nvidia.root.foreign",
    ),
    ("chain: damaged PEM", || rearranged(|c| c[0] = c[0].replace("MII", "M?I")), "nvidia.chain.pem"),
    ("chain: 64 KiB and more", || rearranged(|c| c.push("\n".repeat(65536))), "nvidia.chain.too-long"),
];

fn endorsed(revocation: GpuRevocation, now: UnixTime) -> String {
    let case = device(H100);
    answer(judge(&case, &NvidiaEndorsements { revocation }, now, &terms(), &nonce(&case)))
}

/// Revocation and time.
const ENDORSEMENTS: &[Case] = &[
    ("revocation: missing", || endorsed(GpuRevocation::Missing, NOW), "ocsp.missing"),
    (
        "revocation: waived without a reason",
        || endorsed(GpuRevocation::DangerNotChecked { reason: " ".to_owned() }, NOW),
        "ocsp.missing",
    ),
    (
        "time: before the root",
        || endorsed(not_checked().revocation, UnixTime(1_600_000_000)),
        "x509.not-yet-valid",
    ),
    (
        "time: within the root, before its child",
        || endorsed(not_checked().revocation, UnixTime(1_640_000_000)),
        "x509.not-yet-valid",
    ),
    (
        "time: after the year 9999",
        || endorsed(not_checked().revocation, UnixTime(253_402_300_800)),
        "x509.expired",
    ),
];

fn only(value: &str) -> Expected<String> {
    Expected::OneOf(vec![value.to_owned()])
}

fn digest(case: &Recording) -> [u8; 48] {
    let evidence = GpuEvidence::parse(&case.report, &case.chain).expect("well-formed");
    let authentic =
        verify_gpu(&evidence, &not_checked(), &NvidiaAnchors::nvidia(), NOW).expect("a genuine device");
    let digest = hex::decode(&authentic.claims().measurements_digest).expect("hexadecimal");
    digest.try_into().expect("48 bytes")
}

/// One term of the policy at a time.
const TERMS: &[Case] = &[
    (
        "terms: all exact",
        || {
            let case = device(H100);
            with(&case, |p| {
                p.architectures = vec![Architecture::Hopper];
                p.device = only("41431d480fe5e87274");
                p.driver_version = only("550.90.07");
                p.vbios_version = only("96.00.9F.00.01");
                p.measurements = Expected::OneOf(vec![digest(&case)]);
            })
        },
        "verified: hopper 550.90.07",
    ),
    (
        "terms: another architecture",
        || with(&device(H100), |p| p.architectures = vec![Architecture::Blackwell]),
        "nvidia.architecture.not-accepted",
    ),
    (
        "terms: of a platform, and none of NVIDIA's devices",
        || {
            let case = device(H100);
            let evidence = GpuEvidence::parse(&case.report, &case.chain).expect("well-formed");
            let authentic =
                verify_gpu(&evidence, &not_checked(), &NvidiaAnchors::nvidia(), NOW).expect("genuine");
            let policy = Policy::strict_for_measurement([0x32; 48]);
            authentic.appraise(&policy, &[], &nonce(&case)).expect_err("refused").code().to_owned()
        },
        "policy.platform-not-accepted",
    ),
    (
        "terms: no architecture",
        || with(&device(H100), |p| p.architectures.clear()),
        "nvidia.architecture.not-accepted",
    ),
    (
        "terms: another device",
        || with(&device(H100), |p| p.device = only("00")),
        "nvidia.device.not-accepted",
    ),
    (
        "terms: another driver",
        || with(&device(H100), |p| p.driver_version = only("550.90.08")),
        "nvidia.driver.not-accepted",
    ),
    (
        "terms: a prefix of the driver",
        || with(&device(H100), |p| p.driver_version = only("550.90")),
        "nvidia.driver.not-accepted",
    ),
    (
        "terms: another VBIOS",
        || with(&device(H100), |p| p.vbios_version = only("96.00.9F.00.02")),
        "nvidia.vbios.not-accepted",
    ),
    (
        "terms: measurements of another Hopper",
        || with(&device(H100), |p| p.measurements = Expected::OneOf(vec![digest(&device(SDK))])),
        "nvidia.measurements.not-accepted",
    ),
    (
        "terms: no measurements",
        || with(&device(H100), |p| p.measurements = Expected::OneOf(Vec::new())),
        "nvidia.measurements.not-accepted",
    ),
    (
        "terms: a waiver without a reason",
        || with(&device(H100), |p| p.measurements = Expected::any("")),
        "policy.waiver-without-reason",
    ),
    (
        "terms: missing firmware identity allowed without a reason",
        || with(&switch(), |p| p.firmware_id_missing = Danger::Allow { reason: String::new() }),
        "policy.waiver-without-reason",
    ),
    (
        "nonce: of another exchange",
        || {
            let case = device(H100);
            let mut other = nonce(&case);
            other[31] ^= 1;
            answer(judge(&case, &not_checked(), NOW, &terms(), &other))
        },
        "nvidia.nonce",
    ),
    (
        "nonce: the responder's",
        || {
            let case = device(H100);
            let other = case.report[45 + 3520..][..32].try_into().expect("32 bytes");
            answer(judge(&case, &not_checked(), NOW, &terms(), &other))
        },
        "nvidia.nonce",
    ),
];

fn verified(case: &Recording) -> VerifiedGpu {
    let policy = NvidiaPolicy { firmware_id_missing: allow(), ..terms() };
    judge(case, &not_checked(), NOW, &policy, &nonce(case)).expect("a genuine device")
}

fn set(cases: &[Recording], expected: usize) -> String {
    match verify_set(cases.iter().map(verified).collect(), expected) {
        Ok(set) => format!("{} devices", set.devices().len()),
        Err(denied) => denied.code().to_owned(),
    }
}

fn pair() -> Vec<Recording> {
    vec![device(H100), device(SDK)]
}

const SETS_OF_DEVICES: &[Case] = &[
    ("set: two devices", || set(&pair(), 2), "2 devices"),
    ("set: GPU and switch", || set(&[device(H100), switch()], 2), "2 devices"),
    ("set: one is missing", || set(&pair()[..1], 2), "nvidia.set.count"),
    ("set: one too many", || set(&pair(), 1), "nvidia.set.count"),
    ("set: none expected", || set(&[], 0), "nvidia.set.empty"),
    ("set: one device twice", || set(&[device(H100), device(H100)], 2), "nvidia.set.duplicate"),
    ("set: four GPUs", || set(&serialized(&format!("{SETS}/multi_gpu_hopper.json")), 4), "4 devices"),
    (
        "set: four recordings of one switch",
        || set(&serialized(&format!("{SETS}/multi_switch_ls10.json")), 4),
        "nvidia.set.duplicate",
    ),
];

fn every_rule() -> Result<(), Failed> {
    let verified = verified(&device(H100));
    let found: Vec<_> = verified.checks().iter().map(|check| (check.rule.id, check.outcome)).collect();
    let expected: Vec<_> = casemate_attest::rules::NVIDIA
        .iter()
        .map(|rule| {
            let waived =
                ["NV-05", "NV-10", "NV-11", "NV-12", "NV-13", "NV-16", "NV-17", "NV-19"].contains(&rule.id);
            (rule.id, if waived { Outcome::Waived } else { Outcome::Pass })
        })
        .collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?}").into()) }
}
