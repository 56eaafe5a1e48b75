//! `casemate verify` and `inspect` over recorded evidence of NVIDIA devices, as an auditor types them.

mod typed;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use tempfile::NamedTempFile;
use typed::{Run, casemate, vectors};

const REPORT: &str = "h100_sample/hopperAttestationReport.txt";
const CHAIN: &str = "h100_sample/hopperCertChain.txt";
const BROKEN: &str =
    "attestation-sdk/sample_attestation_data/gpu/hopperAttestationReportInvalidSignature.txt";
const SWITCH: &str = "attestation-sdk/serialized_test_evidence/switch_evidence_ls10.json";
const SWITCHES: &str = "attestation-sdk/serialized_test_evidence/multi_switch_ls10.json";
const GPUS: &str = "attestation-sdk/serialized_test_evidence/multi_gpu_hopper.json";
const SWITCH_RIM: &str = "attestation-sdk/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml";
const VBIOS_RIM: &str = "rim_vbios/1010_0200_882_96005E0001_PROD.swidtag";
const NONCE: &str = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb";
const GPUS_NONCE: &str = "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576";
/// 2026-09-01T12:00:00Z
const AT: &str = "1788264000";
const NO_OCSP: [&str; 2] = ["--danger-no-crl", "no answer was recorded"];

/// Any device, and no manifest demanded of a driver.
const ANY: &str = r#"
[nvidia]
architectures = ["hopper", "ls10"]
firmware-id-missing = { danger-allow = "recorded" }
driver-manifest-missing = { danger-allow = "none of the recorded drivers" }
device = { any = "recorded" }
driver-version = { any = "recorded" }
vbios-version = { any = "recorded" }
measurements = { any = "manifests decide" }
"#;

/// As [`ANY`], and no manifest demanded at all.
const NO_MANIFEST: &str = "vbios-manifest-missing = { danger-allow = \"recorded\" }\n";

/// Name, and what is done.
type Case = (&'static str, fn() -> Result<(), Failed>);

fn main() {
    let arguments = Arguments::from_args();
    let cases: [Case; 18] = [
        ("a report with its chain: verified, with every waiver named", report),
        ("why each rule is there", explained),
        ("another nonce is exit code 4", nonce),
        ("without a nonce or a chain it is a usage error", usage),
        ("a broken signature is exit code 3", broken),
        ("without answers about revocation it is exit code 5", no_answers),
        ("an answer that is none is exit code 3", bad_answer),
        ("without a manifest it is exit code 5", no_manifest),
        ("a switch against its manifest", switch),
        ("a manifest after its signer's last day is exit code 5", late),
        ("a changed manifest is exit code 3", changed_manifest),
        ("four GPUs", gpus),
        ("four GPUs where one is expected is exit code 4", too_many),
        ("one switch four times is exit code 4", switches),
        ("a damaged list is exit code 5", damaged),
        ("a policy without NVIDIA's devices is exit code 4", other_policy),
        ("JSON", as_json),
        ("inspect proves nothing", inspected),
    ];
    let ignored = vectors().is_none();
    let trials = cases.into_iter().map(|(name, run)| Trial::test(name, run).with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn verify(policy: &str, evidence: &str, more: &[&str]) -> Run {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), policy).expect("a policy");
    let policy = file.path().to_string_lossy();
    let evidence = recorded(evidence);
    let mut arguments = vec!["verify", evidence.as_str(), "--policy", policy.as_ref(), "--at", AT];
    arguments.extend(more);
    casemate(&arguments)
}

fn h100(policy: &str, nonce: &str, more: &[&str]) -> Run {
    let chain = recorded(CHAIN);
    verify(policy, REPORT, &[&["--chain", chain.as_str(), "--nonce", nonce], more].concat())
}

fn lenient() -> String {
    format!("{ANY}{NO_MANIFEST}")
}

fn last_line(run: &Run) -> &str {
    run.stdout.lines().last().unwrap_or_default()
}

fn ends(run: &Run, code: i32, named: &str) -> Result<(), Failed> {
    if run.code == code && run.stderr.contains(&format!("[{named}]")) {
        return Ok(());
    }
    Err(format!("exit code {}: {} {}", run.code, run.stdout, run.stderr).into())
}

fn report() -> Result<(), Failed> {
    let run = h100(&lenient(), NONCE, &NO_OCSP);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        last_line(&run),
        "VERIFIED, 1 device, 8 waived: NV-05, NV-10, NV-11, NV-12, NV-13, NV-16, NV-17, NV-19"
    );
    assert!(run.stdout.starts_with("device 1: hopper 41431d480fe5e87274\n"), "{}", run.stdout);
    assert!(!run.stderr.contains("SIMULATED"));
    Ok(())
}

fn explained() -> Result<(), Failed> {
    let run = h100(&lenient(), NONCE, &[&NO_OCSP[..], &["--explain"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("Only firmware of a genuine device holds the key."), "{}", run.stdout);
    Ok(())
}

fn nonce() -> Result<(), Failed> {
    let run = h100(&lenient(), GPUS_NONCE, &NO_OCSP);
    assert!(last_line(&run).starts_with("DENIED: nonce "), "{}", run.stdout);
    ends(&run, 4, "nvidia.nonce")
}

fn usage() -> Result<(), Failed> {
    ends(&verify(&lenient(), REPORT, &["--nonce", NONCE]), 2, "cli.missing-flag")?;
    ends(&verify(&lenient(), SWITCH, &NO_OCSP), 2, "cli.missing-flag")?;
    ends(&h100(&lenient(), "00", &NO_OCSP), 2, "cli.hex")
}

fn broken() -> Result<(), Failed> {
    let chain = recorded("attestation-sdk/sample_attestation_data/gpu/hopperCertChain.txt");
    let more = ["--chain", chain.as_str(), "--nonce", NONCE, NO_OCSP[0], NO_OCSP[1]];
    ends(&verify(&lenient(), BROKEN, &more), 3, "nvidia.signature.invalid")
}

fn no_answers() -> Result<(), Failed> {
    let run = h100(&lenient(), NONCE, &[]);
    assert!(run.stderr.contains("--ocsp FILE"), "{}", run.stderr);
    ends(&run, 5, "ocsp.missing")
}

fn bad_answer() -> Result<(), Failed> {
    let answer = recorded(CHAIN);
    ends(&h100(&lenient(), NONCE, &["--ocsp", &answer]), 3, "ocsp.malformed")
}

fn no_manifest() -> Result<(), Failed> {
    let run = h100(ANY, NONCE, &NO_OCSP);
    assert!(run.stderr.contains("--rim FILE"), "{}", run.stderr);
    ends(&run, 5, "nvidia.manifest.missing")
}

fn switch() -> Result<(), Failed> {
    let rim = recorded(SWITCH_RIM);
    let run = verify(ANY, SWITCH, &["--nonce", NONCE, "--rim", &rim, NO_OCSP[0], NO_OCSP[1]]);
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    assert!(run.stdout.starts_with("manifest SWITCH LS10 96.10.55.00.01\n"), "{}", run.stdout);
    assert!(run.stdout.contains("31 of 31 measurements"), "{}", run.stdout);
    assert_eq!(last_line(&run), "VERIFIED, 1 device, 6 waived: RIM-04, NV-05, NV-09, NV-10, NV-12, NV-13");
    Ok(())
}

fn late() -> Result<(), Failed> {
    let rim = recorded(VBIOS_RIM);
    let run = h100(&lenient(), NONCE, &["--rim", &rim, NO_OCSP[0], NO_OCSP[1]]);
    assert!(last_line(&run).starts_with("REJECTED: "), "{}", run.stdout);
    ends(&run, 5, "x509.expired")
}

fn changed_manifest() -> Result<(), Failed> {
    let document = std::fs::read_to_string(recorded(SWITCH_RIM))?.replace("9083ccee", "9083ccef");
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), document)?;
    let rim = file.path().to_string_lossy();
    let run = verify(ANY, SWITCH, &["--nonce", NONCE, "--rim", &rim, NO_OCSP[0], NO_OCSP[1]]);
    ends(&run, 3, "nvidia.manifest.digest")
}

fn set(evidence: &str, nonce: &str, devices: &str) -> Run {
    let more = ["--nonce", nonce, "--devices", devices, NO_OCSP[0], NO_OCSP[1]];
    verify(&lenient(), evidence, &more)
}

fn gpus() -> Result<(), Failed> {
    let run = set(GPUS, GPUS_NONCE, "4");
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    assert!(last_line(&run).starts_with("VERIFIED, 4 devices, "), "{}", run.stdout);
    let devices = run.stdout.lines().filter(|line| line.starts_with("device ")).count();
    assert_eq!(devices, 4, "{}", run.stdout);
    Ok(())
}

fn too_many() -> Result<(), Failed> {
    ends(&set(GPUS, GPUS_NONCE, "1"), 4, "nvidia.set.count")?;
    ends(&set(GPUS, GPUS_NONCE, "8"), 4, "nvidia.set.count")
}

fn switches() -> Result<(), Failed> {
    let run = set(SWITCHES, NONCE, "4");
    assert!(last_line(&run).starts_with("DENIED: device "), "{}", run.stdout);
    ends(&run, 4, "nvidia.set.duplicate")
}

fn damaged() -> Result<(), Failed> {
    let file = NamedTempFile::new()?;
    let list = std::fs::read_to_string(recorded(GPUS))?;
    std::fs::write(file.path(), &list[..list.len() / 2])?;
    let evidence = file.path().to_string_lossy().into_owned();
    let run = set(&evidence, GPUS_NONCE, "4");
    assert!(last_line(&run).starts_with("MALFORMED: "), "{}", run.stdout);
    ends(&run, 5, "nvidia.serialized.malformed")
}

fn other_policy() -> Result<(), Failed> {
    let policy = include_str!("../../attest/tests/policies/nitro.toml");
    ends(&h100(policy, NONCE, &NO_OCSP), 4, "policy.platform-not-accepted")
}

fn as_json() -> Result<(), Failed> {
    let rim = recorded(SWITCH_RIM);
    let run = verify(ANY, SWITCH, &["--nonce", NONCE, "--rim", &rim, NO_OCSP[0], NO_OCSP[1], "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(report["schema"], "casemate.verify/1");
    assert_eq!((&report["verdict"], &report["simulated"]), (&"verified".into(), &false.into()));
    assert_eq!((&report["code"], &report["claims"]), (&Value::Null, &Value::Null));
    let checks = report["checks"].as_array().expect("a list");
    assert_eq!(checks.len(), 7 + 19);
    assert_eq!(
        (&checks[0]["id"], &checks[0]["of"]),
        (&"RIM-01".into(), &"manifest SWITCH LS10 96.10.55.00.01".into())
    );
    assert_eq!((&checks[25]["id"], &checks[25]["outcome"]), (&"NV-19".into(), &"pass".into()));
    assert_eq!(report["devices"][0]["architecture"], "ls10");
    assert!(report["valid_until"].as_u64() > Some(1_788_264_000), "{}", report["valid_until"]);

    let run = h100(&lenient(), GPUS_NONCE, &[&NO_OCSP[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!((&report["verdict"], &report["code"]), (&"denied".into(), &"nvidia.nonce".into()));
    assert_eq!(report["valid_until"], Value::Null);
    Ok(())
}

fn inspected() -> Result<(), Failed> {
    let run = casemate(&["inspect", "--json", &recorded(GPUS)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let shown: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!((&shown["proves"], &shown["kind"]), (&"nothing".into(), &"nvidia device evidence".into()));
    assert_eq!(shown["content"].as_array().expect("a list").len(), 4);
    assert_eq!(shown["content"][3]["driver_version"], "590.12");
    let run = casemate(&["inspect", "--json", &recorded(REPORT), "--chain", &recorded(CHAIN)]);
    let shown: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(shown["content"][0]["vbios_version"], "96.00.9F.00.01");
    ends(&casemate(&["inspect", &recorded(REPORT)]), 2, "cli.missing-flag")
}

/// A recording; a path that is absolute already stays as it is.
fn recorded(path: &str) -> String {
    typed::recorded("nvidia").join(path).to_string_lossy().into_owned()
}
