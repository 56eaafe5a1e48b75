//! `casemate verify` and `inspect` over recorded evidence, as an auditor types them.

mod typed;

use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::NamedTempFile;
use typed::{Run, casemate, recorded, vectors};

const NITRO: &str = "nitro/cose/nitro_attest_attestation.cbor";
const DEBUG: &str = "nitro/cose/aws-nitro-enclaves-attestation_nitro_ad_debug.cbor";
const TDX: &str = "tdx/dcap-qvl/tdx_quote.bin";
const TDX_COLLATERAL: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";
const WAIVED: [&str; 4] = ["--danger-no-crl", "no list was recorded", "--danger-unbound", "it was recorded"];

/// Any image, so that the case is about something else.
const ANY_IMAGE: &str = r#"
[nitro]
maximum-age = 60
pcr0 = { any = "recorded" }
pcr1 = { any = "recorded" }
pcr2 = { any = "recorded" }
pcr3 = { any = "recorded" }
pcr4 = { any = "recorded" }
pcr8 = { any = "recorded" }

[tdx]
tcb-statuses = ["UpToDate"]
minimum-evaluation = 17
minimum-module = { major = 1, minor = 5 }
mrseam = { any = "recorded" }
mrservicetd = ["000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"]
platform-may = ["dynamic-platform", "cached-keys", "smt"]
xfam-may = 0x65ae7
mrtd = { any = "recorded" }
rtmr0 = { any = "recorded" }
rtmr1 = { any = "recorded" }
rtmr2 = { any = "recorded" }
rtmr3 = { any = "recorded" }
mrconfigid = { any = "recorded" }
mrowner = { any = "recorded" }
mrownerconfig = { any = "recorded" }
"#;

/// Name, and what is done.
type Case = (&'static str, fn() -> Result<(), Failed>);

const GCE: &str = "gcp/vtpm/gce-cos-85-nonce9009.pb";
const GCE_ISSUER: &str = "roots/gcp/tpm_ek_intermediate_2.crt";
/// Any instance that booted with these two actions.
const GCE_TERMS: &str = r#"
[gce-vtpm]
memory-encryption-unproven = { danger-allow = "the case is about something else" }
project-id = ["google.com:wuale-gcp-testing"]
zone = ["us-central1-a"]
instance-id = { any = "recorded" }
pcrs = { PCRS }

[gce-vtpm.event-log]
other-registers = { danger-allow = "recorded" }
[gce-vtpm.event-log.register.5]
events = { any = "recorded" }
required = [
    { text = "Exit Boot Services Invocation" },
    { text = "Exit Boot Services Returned with Success" },
]
"#;
const CCEL: &str = "tdx/go-tdx-guest/ccel/ccel_data.dat";
/// The recorded quote's RTMR3 is zero.
const EMPTY_RTMR3: &str = r#"
[tdx.event-log]
other-registers = { danger-allow = "the log is another machine's" }
[tdx.event-log.register.3]
events = "none"
"#;

fn main() {
    let arguments = Arguments::from_args();
    let cases: [Case; 24] = [
        ("nitro: verified, with every waiver named", verified),
        ("nitro: why each rule is there", explained),
        ("nitro: debug mode is refused with exit code 4", debug),
        ("nitro: later than its certificate is exit code 5", late),
        ("nitro: a flipped byte is exit code 3", flipped),
        ("nitro: inspect proves nothing", inspected),
        ("tdx: verified, with every waiver named", tdx_verified),
        ("tdx: without collateral is a usage error", tdx_without_collateral),
        ("tdx: later than its collateral is exit code 5", tdx_late),
        ("event log: replayed, with the waiver named", log_verified),
        ("event log: asked for and absent is exit code 4", log_absent),
        ("event log: there and not asked for is exit code 4", log_not_asked),
        ("event log: broken is exit code 5", log_broken),
        ("gce: verified with its own log, with every waiver named", gce_verified),
        ("gce: a plain Shielded VM is exit code 4", gce_shielded),
        ("gce: without the certificates above the key's is a usage error", gce_without_chain),
        ("gce: inspect proves nothing, not even memory encryption", gce_inspected),
        ("token: verified, by whose word and with every waiver named", token_verified),
        ("token: a bundle of NVIDIA's service, by named keys and by certified ones", nras),
        ("token: keys and a nonce must be named", token_usage),
        ("token: inspect proves nothing", token_inspected),
        ("token: two key sets for one issuer are an error", token_keys_twice),
        ("flags that say nothing about the evidence are refused", superfluous),
        ("event log: inspect marks every line as unverified", log_inspected),
    ];
    let ignored = vectors().is_none();
    let trials = cases.into_iter().map(|(name, run)| Trial::test(name, run).with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn verified() -> Result<(), Failed> {
    let run = verify(&recorded(NITRO), 1_736_179_625, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let headline = run.stdout.lines().last().unwrap_or_default();
    assert_eq!(
        headline,
        "VERIFIED, 8 waived: NIT-04, NIT-10, NIT-11, NIT-12, NIT-13, NIT-14, NIT-15, NIT-16"
    );
    assert!(!run.stderr.contains("SIMULATED"));
    Ok(())
}

fn explained() -> Result<(), Failed> {
    let run = verify(&recorded(NITRO), 1_736_179_625, &["--explain"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("In debug mode the parent instance reads the console"), "{}", run.stdout);
    Ok(())
}

fn debug() -> Result<(), Failed> {
    let run = verify(&recorded(DEBUG), 1_614_963_709, &[]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("[nitro.debug]"), "{}", run.stderr);
    Ok(())
}

fn late() -> Result<(), Failed> {
    let run = verify(&recorded(NITRO), 1_796_000_000, &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("[x509.expired]"), "{}", run.stderr);
    Ok(())
}

fn flipped() -> Result<(), Failed> {
    let mut bytes = std::fs::read(recorded(NITRO))?;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let run = verify(file.path(), 1_736_179_625, &[]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("[nitro.signature.invalid]"), "{}", run.stderr);
    Ok(())
}

fn inspected() -> Result<(), Failed> {
    let run = casemate(&["inspect", "--json", &recorded(NITRO).to_string_lossy()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\"proves\":\"nothing\""), "{}", run.stdout);
    assert!(run.stdout.contains("nitro attestation document"), "{}", run.stdout);
    Ok(())
}

fn tdx_verified() -> Result<(), Failed> {
    let collateral = recorded(TDX_COLLATERAL);
    let run = verify(&recorded(TDX), 1_751_000_000, &["--collateral", &collateral.to_string_lossy()]);
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    let headline = run.stdout.lines().last().unwrap_or_default();
    assert!(headline.starts_with("VERIFIED, "), "{headline}");
    assert!(
        headline.ends_with("TDX-20, TDX-21, TDX-22, TDX-23, TDX-24, TDX-25, TDX-26, TDX-27, TDX-28"),
        "{headline}"
    );
    Ok(())
}

fn tdx_without_collateral() -> Result<(), Failed> {
    let run = verify(&recorded(TDX), 1_751_000_000, &[]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("--collateral"), "{}", run.stderr);
    Ok(())
}

fn tdx_late() -> Result<(), Failed> {
    let collateral = recorded(TDX_COLLATERAL);
    let run = verify(&recorded(TDX), 1_796_000_000, &["--collateral", &collateral.to_string_lossy()]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("[tdx.collateral.expired]"), "{}", run.stderr);
    Ok(())
}

fn log_verified() -> Result<(), Failed> {
    let run = with_log(EMPTY_RTMR3, Some(&recorded(CCEL)));
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    assert!(run.stdout.lines().last().unwrap_or_default().ends_with("TDX-28, LOG-04"), "{}", run.stdout);
    Ok(())
}

fn log_absent() -> Result<(), Failed> {
    let run = with_log(EMPTY_RTMR3, None);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("[log.missing]"), "{}", run.stderr);
    Ok(())
}

fn log_not_asked() -> Result<(), Failed> {
    let run = with_log("", Some(&recorded(CCEL)));
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("[log.not-asked]"), "{}", run.stderr);
    Ok(())
}

fn log_broken() -> Result<(), Failed> {
    let mut bytes = std::fs::read(recorded(CCEL))?;
    bytes.truncate(100);
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let run = with_log(EMPTY_RTMR3, Some(file.path()));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("[log.format.truncated]"), "{}", run.stderr);
    Ok(())
}

fn gce_verified() -> Result<(), Failed> {
    let run = gce(&gce_terms(), &["--ak-chain", &recorded(GCE_ISSUER).to_string_lossy(), "--nonce", "9009"]);
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    assert_eq!(
        run.stdout.lines().last().unwrap_or_default(),
        "VERIFIED, 6 waived: GV-05, GV-10, GV-13, GV-14, LOG-04, LOG-05"
    );
    Ok(())
}

fn gce_shielded() -> Result<(), Failed> {
    let terms = gce_terms();
    let terms: String =
        terms.lines().filter(|line| !line.starts_with("memory")).map(|line| format!("{line}\n")).collect();
    let run = gce(&terms, &["--ak-chain", &recorded(GCE_ISSUER).to_string_lossy(), "--nonce", "9009"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("[gce.memory-encryption.unproven]"), "{}", run.stderr);
    Ok(())
}

fn gce_without_chain() -> Result<(), Failed> {
    let run = gce(&gce_terms(), &["--nonce", "9009"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("--ak-chain"), "{}", run.stderr);
    Ok(())
}

fn gce_inspected() -> Result<(), Failed> {
    let run = casemate(&["inspect", &recorded(GCE).to_string_lossy()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("unproven: this evidence says nothing about it"), "{}", run.stdout);
    assert!(run.stderr.contains("it proves nothing"), "{}", run.stderr);
    Ok(())
}

fn gce_terms() -> String {
    let pcrs: Vec<_> = (0..24).map(|pcr| format!("{pcr} = {{ any = \"recorded\" }}")).collect();
    GCE_TERMS.replace("PCRS", &pcrs.join(", "))
}

/// The recorded GCE evidence on these terms, in 2022.
fn gce(terms: &str, more: &[&str]) -> Run {
    let policy = NamedTempFile::new().expect("a file");
    std::fs::write(policy.path(), terms).expect("a policy");
    let evidence = recorded(GCE);
    let (evidence, policy) = (evidence.to_string_lossy(), policy.path().to_string_lossy());
    let fixed = ["verify", evidence.as_ref(), "--policy", policy.as_ref(), "--at", "1640995200"];
    casemate(&[&fixed[..], &["--danger-no-crl", "no list was recorded"], more].concat())
}

fn log_inspected() -> Result<(), Failed> {
    let run = casemate(&["inspect", &recorded(CCEL).to_string_lossy()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<_> = run.stdout.lines().skip(1).collect();
    assert_eq!(lines.len(), 1 + 43 + 3);
    assert!(lines.iter().all(|line| line.starts_with("  unverified ")), "{}", run.stdout);
    assert!(run.stdout.contains("has the digest: Exit Boot Services Invocation"), "{}", run.stdout);
    assert!(run.stdout.contains("comment: /efi/boot/grub.cfg."), "{}", run.stdout);
    let run = casemate(&["inspect", "--json", &recorded(CCEL).to_string_lossy()]);
    assert!(run.stdout.contains("\"proves\":\"nothing\"") && run.stdout.contains("\"verified\":false"));
    Ok(())
}

/// The recorded TDX quote, with these further terms and this log.
fn with_log(terms: &str, log: Option<&Path>) -> Run {
    let collateral = recorded(TDX_COLLATERAL);
    let collateral = collateral.to_string_lossy();
    let mut more = vec!["--collateral", collateral.as_ref()];
    let log = log.map(|log| log.to_string_lossy());
    if let Some(log) = &log {
        more.extend(["--event-log", log.as_ref()]);
    }
    verify_by(&format!("{ANY_IMAGE}{terms}"), &recorded(TDX), 1_751_000_000, &more)
}

fn verify(evidence: &Path, at: u64, more: &[&str]) -> Run {
    verify_by(ANY_IMAGE, evidence, at, more)
}

fn verify_by(terms: &str, evidence: &Path, at: u64, more: &[&str]) -> Run {
    let policy = NamedTempFile::new().expect("a file");
    std::fs::write(policy.path(), terms).expect("a policy");
    let (evidence, policy, at) =
        (evidence.to_string_lossy(), policy.path().to_string_lossy(), at.to_string());
    let mut arguments = vec!["verify", evidence.as_ref(), "--policy", policy.as_ref(), "--at", at.as_str()];
    // A TDX quote's collateral says what is revoked: the first waiver says nothing about it.
    let quote = evidence.contains("/tdx/");
    let waived = if quote { &WAIVED[2..] } else { &WAIVED[..] };
    arguments.extend(waived);
    arguments.extend(more);
    casemate(&arguments)
}

const TOKEN: &str = "maa/midnight_snp_2025-12-15.jwt";
const TOKEN_AT: &str = "1765826700";
/// The machine that the recorded token is of.
const TOKEN_TERMS: &str = r#"
[maa]
issuers = ["https://sharedeus2.eus2.attest.azure.net"]
tee = ["sevsnpvm"]
measurement = { any = "recorded" }
host-data = { any = "recorded" }
id-key-digest = ["942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177"]
author-key-digest = { any = "recorded" }
minimum-svn = { bootloader = 4, tee = 0, snp = 24, microcode = 219, tdx-module = 0 }
policy-hash = { any = "recorded" }
vm-id = ["ABD9EA99-D837-4F68-AD3E-C87C88006AFA"]
"#;

fn token(more: &[&str]) -> Run {
    let policy = NamedTempFile::new().expect("a file");
    std::fs::write(policy.path(), TOKEN_TERMS).expect("a policy");
    let (token, policy) = (recorded(TOKEN), policy.path().display().to_string());
    let token = token.display().to_string();
    casemate(&[&["verify", token.as_str(), "--policy", policy.as_str(), "--at", TOKEN_AT], more].concat())
}

fn token_keys() -> String {
    format!("https://sharedeus2.eus2.attest.azure.net={}", recorded("maa/sharedeus2_jwks.json").display())
}

fn token_verified() -> Result<(), Failed> {
    let keys = token_keys();
    let run = token(&["--jwks", &keys, "--nonce-text", "midnight-srs"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(
        run.stdout.lines().last().unwrap_or_default(),
        "VERIFIED, by the word of https://sharedeus2.eus2.attest.azure.net, 4 waived: MAA-11, MAA-12, MAA-15, MAA-17"
    );
    let run = token(&["--jwks", &keys, "--nonce-text", "another", "--json"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stdout.contains(r#""code":"token.nonce""#), "{}", run.stdout);
    let simulated = NamedTempFile::new()?;
    let root = simulated.path().display().to_string();
    let run = token(&["--jwks", &keys, "--nonce-text", "midnight-srs", "--danger-simulated-root", &root]);
    assert!(
        run.stdout.contains("VERIFIED (SIMULATED)") && run.stderr.contains("SIMULATED"),
        "{}",
        run.stderr
    );
    Ok(())
}

/// The recorded keys were recovered from signatures: nobody certified them.
fn nras() -> Result<(), Failed> {
    let folder = "nvidia/attestation-sdk/sample_attestation_data";
    let file = |name: &str| recorded(&format!("{folder}/hopperClaimsv3_detached_eat{name}.json"));
    let keys = file("_recovered_jwks").display().to_string();
    let named = format!("https://nras.attestation.nvidia.com={keys}");
    let nonce = ["--nonce", "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"];
    let verify = |more: [&str; 2]| {
        let policy = NamedTempFile::new().expect("a file");
        std::fs::write(policy.path(), include_str!("../../attest/tests/policies/nras.toml"))
            .expect("a policy");
        let (bundle, policy) = (file("").display().to_string(), policy.path().display().to_string());
        let first = ["verify", &bundle, "--policy", &policy, "--at", "1749601900"];
        casemate(&[&first[..], &nonce, &more].concat())
    };
    let run = verify(["--jwks", &named]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let headline = "VERIFIED, by the word of https://nras.attestation.nvidia.com";
    assert_eq!(run.stdout.lines().last().unwrap_or_default(), headline);
    let run = verify(["--nras-keys", &keys]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("[token.key-unnamed]"), "{}", run.stderr);
    Ok(())
}

fn token_usage() -> Result<(), Failed> {
    let keys = token_keys();
    let run = token(&["--nonce-text", "midnight-srs"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("[token.issuer]"), "{}", run.stderr);
    assert_eq!(token(&["--jwks", &keys]).code, 2);
    let run = token(&["--jwks", "no-file", "--nonce-text", "midnight-srs"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    Ok(())
}

fn token_keys_twice() -> Result<(), Failed> {
    let (keys, root) = (token_keys(), recorded("maa/sharedeus2_jwks.json").display().to_string());
    let run = token(&["--jwks", &keys, "--jwks", &keys, "--nonce-text", "midnight-srs"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("[cli.issuer-twice]"), "{}", run.stderr);
    let other = format!("https://sharedeus.eus2.attest.azure.net={root}");
    let run = token(&["--jwks", &keys, "--jwks", &other, "--nonce-text", "midnight-srs"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    Ok(())
}

/// Every flag that does not apply to a kind of evidence, one at a time, before the file that it names is read.
fn superfluous() -> Result<(), Failed> {
    const CPU: [&str; 4] = ["--endorsements", "--vek", "--collateral", "--crl"];
    const DEVICE: [&str; 3] = ["--chain", "--rim", "--ocsp"];
    let text = ["--report-data", "--event-log", "--danger-no-crl", "--devices", "--nonce-text"];
    let all: Vec<&str> = [&CPU[..], &DEVICE, &text, &["--jwks", "--ak-chain", "--danger-unbound"]].concat();
    let gpus = "nvidia/attestation-sdk/evidence_hopper_590_12.json";
    let report = "nvidia/h100_sample/hopperAttestationReport.txt";
    // What applies is another case's; what is left must be refused.
    for (evidence, applies) in [
        (TOKEN, &["--jwks", "--nonce-text", "--danger-unbound"][..]),
        (gpus, &["--endorsements", "--rim", "--ocsp", "--danger-no-crl", "--devices"]),
        (report, &["--endorsements", "--rim", "--ocsp", "--danger-no-crl", "--devices", "--chain"]),
        (
            NITRO,
            &[
                "--endorsements",
                "--crl",
                "--danger-no-crl",
                "--report-data",
                "--danger-unbound",
                "--event-log",
            ],
        ),
        (TDX, &["--endorsements", "--collateral", "--report-data", "--danger-unbound", "--event-log"]),
        (
            GCE,
            &[
                "--endorsements",
                "--crl",
                "--danger-no-crl",
                "--report-data",
                "--danger-unbound",
                "--event-log",
                "--ak-chain",
            ],
        ),
        (
            "snp/clerk_milan/report.bin",
            &[
                "--endorsements",
                "--vek",
                "--crl",
                "--danger-no-crl",
                "--report-data",
                "--danger-unbound",
                "--event-log",
            ],
        ),
    ] {
        let policy = NamedTempFile::new()?;
        std::fs::write(policy.path(), format!("{ANY_IMAGE}{TOKEN_TERMS}"))?;
        let (evidence, policy) = (recorded(evidence), policy.path().display().to_string());
        let evidence = evidence.display().to_string();
        for flag in all.iter().filter(|flag| !applies.contains(flag)) {
            let run = casemate(&["verify", &evidence, "--policy", &policy, flag, "1"]);
            let refused = run.stderr.contains("[cli.superfluous-flag]") && run.stderr.contains(flag);
            assert!(run.code == 2 && refused, "{evidence} {flag}: {} {}", run.code, run.stderr);
        }
        for flag in applies {
            let run = casemate(&["verify", &evidence, "--policy", &policy, flag, "1"]);
            assert!(!run.stderr.contains("[cli.superfluous-flag]"), "{evidence} {flag}: {}", run.stderr);
        }
    }
    Ok(())
}

fn token_inspected() -> Result<(), Failed> {
    let token = recorded(TOKEN).display().to_string();
    let run = casemate(&["inspect", &token, "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains(r#""proves":"nothing""#), "{}", run.stdout);
    Ok(())
}
