//! `casemate verify` and `inspect` over what other systems hand out, made by a machine under a made-up vendor.

#[allow(dead_code)]
#[path = "../../attest/tests/bundles/machine.rs"]
mod machine;
#[path = "../../attest/tests/tdx_vendor/mod.rs"]
mod tdx_vendor;
mod typed;

use std::path::Path;

use machine::{COMPOSE, Measured, NONCE, vendor};
use serde_json::{Value, json};
use tdx_vendor::{NOON, sha256};
use tempfile::TempDir;
use typed::{Run, casemate};

const SIGNER: [u8; 32] = [0xed; 32];

/// The made-up image, and the compose file that boot measures.
fn policy() -> String {
    let zero = "00".repeat(48);
    format!(
        r#"
[tdx]
tcb-statuses = ["UpToDate"]
minimum-evaluation = 17
minimum-module = {{ major = 1, minor = 5 }}
mrseam = {{ any = "made up" }}
mrservicetd = ["{zero}"]
platform-may = ["cached-keys", "smt"]
xfam-may = 0x65ae7
mrtd = ["{mrtd}"]
rtmr0 = {{ any = "made up" }}
rtmr1 = {{ any = "made up" }}
rtmr2 = {{ any = "made up" }}
rtmr3 = {{ any = "appraised event by event" }}
mrconfigid = ["{zero}"]
mrowner = ["{zero}"]
mrownerconfig = ["{zero}"]

[tdx.event-log.register.3]
events = {{ any = "an instance has a name of its own" }}
required = [{{ event = "compose-hash", payload = "{compose}" }}]
"#,
        mrtd = "4d".repeat(48),
        compose = hex::encode(sha256(COMPOSE.as_bytes())),
    )
}

fn report() -> Value {
    let measured = Measured::new();
    let report_data = [SIGNER, NONCE].concat().try_into().expect("64 bytes");
    json!({
        "signing_address": hex::encode(SIGNER),
        "signing_algo": "ed25519",
        "request_nonce": hex::encode(NONCE),
        "intel_quote": hex::encode(vendor().quote(&measured.td(report_data))),
        "event_log": measured.log(),
        "info": { "app_name": "a-name", "tcb_info": { "app_compose": COMPOSE } },
    })
}

fn aci() -> Value {
    let keyset = json!({ "e2ee_public_keys": [], "not_after": NOON.0 + 60, "receipt_signing_keys": [] });
    let canonical =
        format!(r#"{{"e2ee_public_keys":[],"not_after":{},"receipt_signing_keys":[]}}"#, NOON.0 + 60);
    let digest = format!("sha256:{}", hex::encode(sha256(canonical.as_bytes())));
    let statement = format!(
        r#"{{"keyset_digest":"{digest}","nonce":"{}","purpose":"aci.report_data.v1"}}"#,
        hex::encode(NONCE)
    );
    let report_data = sha256(statement.as_bytes());
    let measured = Measured::new();
    let slot = [report_data, [0; 32]].concat().try_into().expect("64 bytes");
    json!({
        "api_version": "aci/1",
        "workload_keyset_digest": digest,
        "attestation": {
            "tee_type": "tdx",
            "workload_keyset": keyset,
            "report_data": hex::encode(report_data),
            "evidence": {
                "quote": hex::encode(vendor().quote(&measured.td(slot))),
                "event_log": measured.log().to_string(),
            },
        },
    })
}

/// `verify` over this bundle with these further flags.
fn verify(bundle: &Value, flags: &[&str]) -> Run {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let bundle = text(&write("bundle.json", bundle.to_string().as_bytes()));
    let policy = text(&write("policy.toml", policy().as_bytes()));
    let collateral = text(&write("collateral.json", &vendor().collateral));
    let root = text(&write("root.pem", vendor().root_pem.as_bytes()));
    let at = NOON.0.to_string();
    let own = [
        "verify",
        &bundle,
        "--policy",
        &policy,
        "--collateral",
        &collateral,
        "--danger-simulated-root",
        &root,
        "--at",
        &at,
        "--json",
    ];
    casemate(&[&own[..], flags].concat())
}

fn nonce() -> String {
    hex::encode(NONCE)
}

fn answer(run: &Run) -> (i32, String, Value) {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    (run.code, report["headline"].as_str().expect("a headline").to_owned(), report)
}

#[test]
fn a_report_of_dstack_is_verified_and_says_what_is_bound() {
    let (code, headline, report) = answer(&verify(&report(), &["--nonce", &nonce()]));
    assert_eq!(code, 0, "{headline}");
    assert!(headline.starts_with("VERIFIED (SIMULATED), bundle of dstack"), "{headline}");
    assert_eq!(report["bundle"]["system"], "dstack");
    assert_eq!(report["bundle"]["bound"][0], json!({ "name": "signer-ed25519", "value": "ed".repeat(32) }));
    assert_eq!(report["bundle"]["not_asked"][0]["what"], "info.app_name");
}

#[test]
fn what_is_missing_or_wrong_is_refused_with_its_code() {
    let code = |run: Run| {
        let (exit, _, report) = answer(&run);
        (exit, report["code"].as_str().unwrap_or_default().to_owned())
    };
    let other = "01".repeat(32);
    assert_eq!(code(verify(&report(), &["--nonce", &other])), (4, "bundle.challenge.differs".into()));
    let mut several = json!({ "gateway_attestation": report(), "model_attestations": [report()] });
    assert_eq!(code(verify(&several, &["--nonce", &nonce()])), (5, "bundle.part.several".into()));
    let named = ["--nonce", &nonce(), "--part", "model-1"];
    assert_eq!(verify(&several, &named).code, 0);
    several["model_attestations"][0]["signing_address"] = "00".into();
    assert_eq!(code(verify(&several, &named)), (4, "bundle.dstack.signer".into()));
    assert_eq!(code(verify(&aci(), &["--nonce", &nonce()])), (4, "bundle.aci.custody".into()));
}

#[test]
fn a_report_of_aci_is_verified_where_somebody_decided_on_custody() {
    let flags = ["--nonce", &nonce(), "--danger-custody-not-verified", "the measured code makes its keys"];
    let (code, headline, _) = answer(&verify(&aci(), &flags));
    assert_eq!(code, 0, "{headline}");
    assert!(headline.contains("bundle of aci") && headline.contains("BUN-A05"), "{headline}");
}

#[test]
fn no_nonce_is_misuse() {
    let run = verify(&report(), &[]);
    assert!(run.stderr.contains("--nonce"), "{}", run.stderr);
    assert_ne!(run.code, 0);
}

#[test]
fn inspect_shows_what_it_says_and_proves_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("bundle.json");
    std::fs::write(&path, report().to_string()).expect("written");
    let run = casemate(&["inspect", path.to_str().expect("UTF-8"), "--json"]);
    let shown: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(shown["proves"], "nothing");
    assert_eq!(shown["content"]["system"], "dstack");
    assert_eq!(shown["content"]["says"][0]["name"], "signer-ed25519");
}
