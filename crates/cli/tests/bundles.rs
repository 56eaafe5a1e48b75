//! `casemate verify` and `inspect` over what other systems hand out, made by a machine under a made-up vendor.

#[allow(dead_code)]
#[path = "../../attest/tests/bundles/machine.rs"]
mod machine;
#[path = "../../attest/tests/tdx_vendor/mod.rs"]
mod tdx_vendor;
mod typed;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine::{COMPOSE, Measured, NONCE, vendor};
use serde_json::{Value, json};
use tdx_vendor::{NOON, Td, sha256};
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
    verify_under(&policy(), bundle, flags)
}

/// As [`verify`], where no log is asked for.
fn verify_plain(bundle: &Value, flags: &[&str]) -> Run {
    let policy = policy();
    let (terms, _) = policy.split_once("[tdx.event-log").expect("terms for a log");
    verify_under(terms, bundle, flags)
}

fn verify_under(policy: &str, bundle: &Value, flags: &[&str]) -> Run {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let bundle = text(&write("bundle.json", bundle.to_string().as_bytes()));
    let policy = text(&write("policy.toml", policy.as_bytes()));
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

/// A document of Tinfoil, version 3.
fn tinfoil() -> Value {
    let key = |id: &str, format: &str| json!({ "id": id, "format": format!("https://tinfoil.sh/key/{format}/v1"), "data": "75".repeat(32) });
    let keys = json!({
        "format": "https://tinfoil.sh/crypto-material/v1",
        "items": [key("tls", "spki-fp-sha256"), key("hpke", "x25519-hpke")],
    });
    let devices = json!({ "format": "https://tinfoil.sh/device-evidence/v1", "items": [] });
    let (keys, devices) = (keys.to_string(), devices.to_string());
    let digests = [sha256(keys.as_bytes()), sha256(devices.as_bytes())];
    let algorithm = "https://tinfoil.sh/report-data/v1";
    let digest = sha256(&[algorithm.as_bytes(), &NONCE, digests.as_flattened()].concat());
    let report_data: [u8; 64] = [digest, [0; 32]].concat().try_into().expect("64 bytes");
    json!({
        "format": "https://tinfoil.sh/predicate/attestation/v3",
        "challenge": {
            "nonce": nonce(),
            "report_data": hex::encode(report_data),
            "report_data_algorithm": algorithm,
        },
        "cpu_evidence": {
            "format": "https://tinfoil.sh/format/tdx-quote/v1",
            "report_base64": STANDARD.encode(quote(report_data)),
            "endorsed": {
                "crypto_material_hash": hex::encode(digests[0]),
                "device_evidence_hash": hex::encode(digests[1]),
            },
        },
        "crypto_material": STANDARD.encode(keys),
        "device_evidence": STANDARD.encode(devices),
        "collateral": [{
            "id": "code",
            "role": "reference-values",
            "format": "https://tinfoil.sh/collateral/sigstore-code/v1",
            "data": {},
        }],
    })
}

fn quote(report_data: [u8; 64]) -> Vec<u8> {
    vendor().quote(&Td { report_data, ..Td::default() })
}

fn code(run: Run) -> (i32, String) {
    let (exit, _, report) = answer(&run);
    (exit, report["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_document_of_tinfoil_is_verified_and_says_what_is_bound_and_what_nobody_asked() {
    let (exit, headline, report) = answer(&verify_plain(&tinfoil(), &["--nonce", &nonce()]));
    assert_eq!(
        (exit, headline.as_str()),
        (0, "VERIFIED (SIMULATED), bundle of tinfoil, 5 waived: TDX-14, TDX-21, TDX-22, TDX-23, TDX-24")
    );
    let bundle = &report["bundle"];
    assert_eq!((&bundle["system"], &bundle["variant"]), (&json!("tinfoil"), &json!("attestation/v3")));
    assert_eq!(bundle["bound"][0], json!({ "name": "tls-spki-sha256", "value": "75".repeat(32) }));
    assert_eq!(
        bundle["not_asked"][0]["what"],
        "collateral \"code\": https://tinfoil.sh/collateral/sigstore-code/v1"
    );
}

#[test]
fn a_document_of_tinfoil_is_refused_with_its_code_and_exit() {
    let asked = |change: fn(&mut Value), flags: &[&str]| {
        let mut document = tinfoil();
        change(&mut document);
        code(verify_plain(&document, flags))
    };
    let nonce = nonce();
    let nonce = ["--nonce", nonce.as_str()];
    let stated = |document: &mut Value| document["challenge"]["report_data"] = "00".repeat(64).into();
    assert_eq!(asked(stated, &nonce), (4, "bundle.digest".into()));
    let unknown = |document: &mut Value| document["x"] = 1.into();
    assert_eq!(asked(unknown, &nonce), (5, "bundle.member.unknown".into()));
    let other = |document: &mut Value| {
        document["cpu_evidence"]["report_base64"] = STANDARD.encode(quote([1; 64])).into()
    };
    assert_eq!(asked(other, &nonce), (4, "binding.report-data".into()));
    let damaged = |document: &mut Value| {
        let mut quote = quote([1; 64]);
        quote[100] ^= 1;
        document["cpu_evidence"]["report_base64"] = STANDARD.encode(quote).into();
    };
    assert_eq!(asked(damaged, &nonce), (3, "tdx.signature.invalid".into()));
    assert_eq!(asked(|_| {}, &["--nonce", &"01".repeat(32)]), (4, "bundle.challenge.differs".into()));
    assert_eq!(
        asked(|_| {}, &["--report-data", &"01".repeat(64)]),
        (4, "bundle.challenge.not-report-data".into())
    );
    assert_eq!(
        asked(|_| {}, &[&nonce[..], &["--part", "gateway"]].concat()),
        (5, "bundle.part.unknown".into())
    );
    assert_eq!(asked(|_| {}, &["--danger-unbound", "an audit"]), (0, String::new()));
}

#[test]
fn evidence_of_confidential_containers_is_verified_by_itself_and_in_the_brokers_message() {
    let report_data = [0x44; 64];
    let evidence = json!({ "cc_eventlog": null, "quote": STANDARD.encode(quote(report_data)) });
    let flags = ["--report-data", &hex::encode(report_data)];
    assert_eq!(code(verify_plain(&evidence, &flags)), (0, String::new()));
    assert_eq!(
        code(verify_plain(&evidence, &["--nonce", &nonce()])),
        (4, "bundle.challenge.no-nonce".into())
    );

    let text = STANDARD.encode(NONCE);
    let hashed = format!(
        r#"{{"additional-evidence":"","nonce":"{text}","tee-pubkey":{{"alg":"a","e":"AQAB","kty":"RSA","n":"bg"}}}}"#
    );
    let bound: [u8; 64] = [sha256(hashed.as_bytes()), [0; 32]].concat().try_into().expect("64 bytes");
    let mut message = json!({
        "runtime-data": { "nonce": text, "tee-pubkey": { "kty": "RSA", "alg": "a", "n": "bg", "e": "AQAB" } },
        "tee-evidence": {
            "primary_evidence": { "cc_eventlog": null, "quote": STANDARD.encode(quote(bound)) },
            "additional_evidence": "",
        },
    });
    assert_eq!(code(verify_plain(&message, &["--nonce", &nonce()])), (0, String::new()));
    message["runtime-data"]["tee-pubkey"]["n"] = "bh".into();
    assert_eq!(code(verify_plain(&message, &["--nonce", &nonce()])), (4, "bundle.digest".into()));
}

#[test]
fn a_bundle_without_endorsements_says_where_they_come_from() {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let bundle = write("bundle.json", &tinfoil().to_string());
    let policy = write("policy.toml", &policy());
    let run = casemate(&["verify", &bundle, "--policy", &policy, "--nonce", &nonce()]);
    assert_eq!(run.code, 5);
    assert!(run.stderr.contains("[bundle.endorsements.missing]"), "{}", run.stderr);
    assert!(run.stderr.contains("--endorsements FILE"), "{}", run.stderr);
    assert!(run.stdout.contains("BUN-02"), "{}", run.stdout);
}
