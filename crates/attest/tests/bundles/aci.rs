//! Reports of ACI, with one change each, under a made-up vendor.

use casemate_attest::bundle::{Challenge, DeviceTerms};
use casemate_attest::eventlog::{DstackVersion, LogPolicy};
use casemate_attest::{Danger, UnixTime};
use serde_json::{Value, json};

use crate::Case;
use crate::machine::{APP_ID, Asked, COMPOSE, Measured, NONCE, swept, vendor};
use crate::tdx_vendor::{NOON, Td, sha256};

/// A service before it is asked.
struct Service {
    measured: Measured,
    keyset: Value,
    nonce: Option<[u8; 32]>,
    purpose: &'static str,
    td: fn(&mut Td),
}

impl Service {
    fn new() -> Self {
        let key = |id: &str, algorithm: &str, octet: &str| json!({ "key_id": id, "algo": algorithm, "public_key": octet.repeat(32) });
        Self {
            measured: Measured::new(),
            keyset: json!({
                "subject": "dstack-app://a9",
                "not_after": NOON.0 + 1000,
                "receipt_signing_keys": [key("r-1", "ed25519", "a1"), key("r-2", "ml-dsa", "a2")],
                "e2ee_public_keys": [key("e-1", "x25519-aes-256-gcm-hkdf-sha256", "b1")],
                "tls_public_keys": [
                    { "spki_sha256": "c1".repeat(32) },
                    { "spki_sha256": "c2".repeat(32), "domain": "api.example.com" },
                ],
            }),
            nonce: Some(NONCE),
            purpose: "aci.report_data.v1",
            td: |_| {},
        }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(sha256(canonical(&self.keyset).as_bytes())))
    }

    fn report_data(&self) -> [u8; 32] {
        let nonce = self.nonce.map_or("null".to_owned(), |nonce| format!("\"{}\"", hex::encode(nonce)));
        let statement = format!(
            r#"{{"keyset_digest":"{}","nonce":{nonce},"purpose":"{}"}}"#,
            self.digest(),
            self.purpose
        );
        sha256(statement.as_bytes())
    }

    fn report(&self) -> Value {
        let slot: [u8; 64] = [self.report_data(), [0; 32]].concat().try_into().expect("64 bytes");
        let mut td = self.measured.td(slot);
        (self.td)(&mut td);
        json!({
            "api_version": "aci/1",
            "workload_keyset_digest": self.digest(),
            "attestation": {
                "tee_type": "tdx",
                "workload_keyset": self.keyset,
                "report_data": hex::encode(self.report_data()),
                "source_provenance": { "repo_url": "https://example.com", "repo_commit": "0", "image_digest": null },
                "evidence": {
                    "quote": hex::encode(vendor().quote(&td)),
                    "quote_report_data": hex::encode(td.report_data),
                    "event_log": self.measured.log().to_string(),
                    "app_compose": COMPOSE,
                    "vm_config": "{}",
                    "key_custody": { "provider": "dstack-kms" },
                },
            },
            "service_capabilities": { "serving": "direct" },
        })
    }
}

/// Members in the order of their names, and nothing between them: for these values RFC 8785.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| format!("\"{name}\":{}", canonical(value))).collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn made(
    service: impl FnOnce(&mut Service),
    report: impl FnOnce(&mut Value),
    question: impl FnOnce(&mut Asked),
) -> String {
    let mut own = Service::new();
    service(&mut own);
    let mut value = own.report();
    report(&mut value);
    let mut asked = asker(own.measured.version);
    question(&mut asked);
    asked.answer(value.to_string().as_bytes())
}

fn asker(version: DstackVersion) -> Asked {
    let mut asked = Asked::new(version);
    asked.custody = Danger::Allow { reason: "the measured code makes its keys".into() };
    asked
}

fn good(change: impl FnOnce(&mut Service)) -> String {
    made(change, |_| {}, |_| {})
}

fn sent(change: impl FnOnce(&mut Value)) -> String {
    made(|_| {}, change, |_| {})
}

fn asked(change: impl FnOnce(&mut Asked)) -> String {
    made(|_| {}, |_| {}, change)
}

/// A keyset that the quote binds, whatever it is.
fn keyset(change: impl FnOnce(&mut Value)) -> String {
    good(|s| change(&mut s.keyset))
}

fn evidence(change: impl FnOnce(&mut Value)) -> String {
    sent(|r| change(&mut r["attestation"]["evidence"]))
}

fn without(report: &mut Value, member: &str) {
    report.as_object_mut().expect("an object").remove(member).expect("it is there");
}

fn bound() -> String {
    let bytes = Service::new().report().to_string();
    let asked = asker(DstackVersion::V1);
    let bundle = asked.parse(bytes.as_bytes()).expect("a bundle");
    let not_asked: Vec<_> = bundle.not_asked().iter().map(|part| part.what.clone()).collect();
    assert_eq!(
        not_asked,
        [
            "service_capabilities",
            "attestation.source_provenance",
            "attestation.evidence.key_custody",
            "attestation.evidence.vm_config",
        ]
    );
    let verified = asked.verify(&bundle).expect("verified");
    assert_eq!(verified.valid_until(), UnixTime(NOON.0 + 999));
    assert_eq!(verified.bound("tls-spki-sha256"), Some(&[0xc1; 32][..]));
    assert_eq!(verified.bound("tls-spki-sha256-of-host"), Some(&[0xc2; 32][..]));
    assert_eq!(verified.bound("receipt-key"), Some(&[0xa1; 32][..]));
    assert_eq!(verified.bound("app-id"), Some(&APP_ID[..]));
    let of: Vec<_> = verified.values().iter().filter_map(|value| value.of.as_deref()).collect();
    assert_eq!(
        of,
        ["r-1 (ed25519)", "r-2 (ml-dsa)", "e-1 (x25519-aes-256-gcm-hkdf-sha256)", "api.example.com"]
    );
    let names: Vec<_> = verified.values().iter().map(|value| value.name).collect();
    names.join(", ")
}

/// The same content, written in another way.
fn rewritten() -> String {
    let report = Service::new().report();
    let pretty =
        serde_json::to_string_pretty(&report).expect("JSON").replace("api.example", "api\\u002eexample");
    asker(DstackVersion::V1).answer(pretty.as_bytes())
}

fn shortened() -> String {
    let report = Service::new().report();
    let whole = report.to_string();
    for length in (0..whole.len()).step_by(7) {
        let code = asker(DstackVersion::V1).answer(&whole.as_bytes()[..length]);
        assert!(["bundle.json", "bundle.unknown-system"].contains(&code.as_str()), "{length}: {code}");
    }
    let mut codes = Vec::new();
    for path in ["", "/attestation", "/attestation/evidence", "/attestation/workload_keyset"] {
        let object = report.pointer(path).and_then(Value::as_object).expect("an object");
        let mut members: Vec<_> = object.keys().collect();
        members.sort();
        for member in members {
            let mut shorter = report.clone();
            without(shorter.pointer_mut(path).expect("an object"), member);
            codes.push(format!(
                "{member}: {}",
                asker(DstackVersion::V1).answer(shorter.to_string().as_bytes())
            ));
        }
    }
    codes.join("; ")
}

fn sweep() -> String {
    swept(Service::new().report().to_string().as_bytes(), || asker(DstackVersion::V1))
}

const GOOD: &str = "verified, waived: BUN-A05";

const SHORTENED: &str = "api_version: bundle.unknown-system; attestation: bundle.member.missing; \
    service_capabilities: verified, waived: BUN-A05; workload_keyset_digest: bundle.unknown-system; \
    evidence: bundle.member.missing; report_data: bundle.member.missing; \
    source_provenance: verified, waived: BUN-A05; tee_type: bundle.member.missing; \
    workload_keyset: bundle.member.missing; app_compose: verified, waived: BUN-A05; \
    event_log: LOG-01 log.missing; key_custody: verified, waived: BUN-A05; quote: bundle.member.missing; \
    quote_report_data: verified, waived: BUN-A05; vm_config: verified, waived: BUN-A05; \
    e2ee_public_keys: bundle.member.missing; not_after: bundle.member.missing; \
    receipt_signing_keys: bundle.member.missing; subject: BUN-A02 bundle.digest; \
    tls_public_keys: BUN-A02 bundle.digest";

pub(crate) const CASES: &[Case] = &[
    ("aci: one bit of every byte", sweep, "what is accepted says nothing else"),
    ("aci: keyset and nonce", || good(|_| {}), GOOD),
    (
        "aci: what comes out",
        bound,
        "keyset-sha256, keyset-subject, receipt-key, receipt-key, e2ee-key, tls-spki-sha256, tls-spki-sha256-of-host, \
         app-id, compose-hash, instance-id, os-image-hash, key-provider",
    ),
    ("aci: written in another way", rewritten, GOOD),
    ("aci: events of version 2", || good(|s| s.measured.version = DstackVersion::V2), GOOD),
    ("aci: no TLS keys", || keyset(|k| without(k, "tls_public_keys")), GOOD),
    ("aci: no subject", || keyset(|k| k["subject"] = Value::Null), GOOD),
    ("aci: members of another release", || sent(|r| r["later"] = 1.5.into()), GOOD),
    // BUN-01.
    ("aci: every length, every member", shortened, SHORTENED),
    ("aci: another version", || sent(|r| r["api_version"] = "aci/2".into()), "bundle.version"),
    (
        "aci: a digest of another hash",
        || sent(|r| r["workload_keyset_digest"] = "sha384:00".into()),
        "bundle.member.encoding",
    ),
    (
        "aci: a digest in upper case",
        || sent(|r| r["workload_keyset_digest"] = format!("sha256:{}", "AB".repeat(32)).into()),
        "bundle.member.encoding",
    ),
    ("aci: SEV-SNP", || sent(|r| r["attestation"]["tee_type"] = "sev_snp".into()), "bundle.version"),
    ("aci: an unknown member of the keyset", || keyset(|k| k["later"] = 1.into()), "bundle.member.unknown"),
    (
        "aci: an unknown member of a key",
        || keyset(|k| k["e2ee_public_keys"][0]["later"] = 1.into()),
        "bundle.member.unknown",
    ),
    ("aci: a number with a fraction", || keyset(|k| k["not_after"] = 1.5.into()), "bundle.member.encoding"),
    (
        "aci: a number that no double holds",
        || keyset(|k| k["not_after"] = 9_007_199_254_740_992_u64.into()),
        "bundle.member.encoding",
    ),
    ("aci: a negative number", || keyset(|k| k["not_after"] = (-1).into()), "bundle.member.encoding"),
    ("aci: a name outside ASCII", || keyset(|k| k["\u{e9}"] = 1.into()), "bundle.member.encoding"),
    (
        "aci: a key twice",
        || keyset(|k| k["receipt_signing_keys"][1]["key_id"] = "r-1".into()),
        "bundle.item.duplicate",
    ),
    ("aci: 65 keys", || keyset(|k| k["e2ee_public_keys"] = json!(vec![0; 65])), "bundle.item.too-many"),
    (
        "aci: a long key",
        || keyset(|k| k["e2ee_public_keys"][0]["public_key"] = "b1".repeat(2049).into()),
        "bundle.item.too-many",
    ),
    (
        "aci: a TLS key of 20 bytes",
        || keyset(|k| k["tls_public_keys"][0]["spki_sha256"] = "c1".repeat(20).into()),
        "bundle.member.length",
    ),
    ("aci: a quote that is none", || evidence(|e| e["quote"] = "00".into()), "evidence.unknown-format"),
    ("aci: a log that is a number", || evidence(|e| e["event_log"] = 1.into()), "bundle.member.type"),
    (
        "aci: an event twice in its text",
        || evidence(|e| e["event_log"] = r#"[{"imr":3,"imr":3}]"#.into()),
        "bundle.member.duplicate",
    ),
    (
        "aci: the answer to older clients",
        || sent(|r| r["intel_quote"] = r["attestation"]["evidence"]["quote"].clone()),
        "bundle.unknown-system",
    ),
    (
        "aci: the answer to older clients, with its signer",
        || {
            sent(|r| {
                r["intel_quote"] = r["attestation"]["evidence"]["quote"].clone();
                r["signing_address"] = format!("0x{}", "e7".repeat(20)).into();
                r["signing_algo"] = "ecdsa".into();
            })
        },
        "bundle.member.missing",
    ),
    // BUN-02, BUN-03.
    ("aci: no collateral", || asked(|a| a.endorsed = false), "BUN-02 bundle.endorsements.missing"),
    (
        "aci: report data asked",
        || asked(|a| a.challenge = Challenge::ReportData(vec![0; 64])),
        "BUN-03 bundle.challenge.not-report-data",
    ),
    (
        "aci: answers none, and none asked",
        || {
            made(
                |s| s.nonce = None,
                |_| {},
                |a| a.challenge = Challenge::DangerNone { reason: "an audit".into() },
            )
        },
        "verified, waived: BUN-03, BUN-A05",
    ),
    // BUN-A01 to BUN-A05.
    (
        "aci: one key, two roles",
        || keyset(|k| k["e2ee_public_keys"][0]["public_key"] = "A1".repeat(32).into()),
        "BUN-A01 bundle.aci.two-roles",
    ),
    (
        "aci: a keyset that was changed",
        || sent(|r| r["attestation"]["workload_keyset"]["subject"] = "x".into()),
        "BUN-A02 bundle.digest",
    ),
    (
        "aci: the digest of another keyset",
        || sent(|r| r["workload_keyset_digest"] = format!("sha256:{}", "00".repeat(32)).into()),
        "BUN-A02 bundle.digest",
    ),
    (
        "aci: another nonce",
        || asked(|a| a.challenge = Challenge::Nonce(vec![1; 32])),
        "BUN-A03 bundle.digest",
    ),
    (
        "aci: a nonce of 31 bytes",
        || asked(|a| a.challenge = Challenge::Nonce(vec![1; 31])),
        "BUN-A03 bundle.challenge.nonce-length",
    ),
    ("aci: answers none, and one asked", || good(|s| s.nonce = None), "BUN-A03 bundle.digest"),
    (
        "aci: answers one, and none asked",
        || asked(|a| a.challenge = Challenge::DangerNone { reason: "an audit".into() }),
        "BUN-A03 bundle.digest",
    ),
    ("aci: another purpose", || good(|s| s.purpose = "aci.report_data.v2"), "BUN-A03 bundle.digest"),
    (
        "aci: another report_data",
        || sent(|r| r["attestation"]["report_data"] = "00".repeat(32).into()),
        "BUN-A03 bundle.digest",
    ),
    ("aci: in its last second", || asked(|a| a.now = UnixTime(NOON.0 + 999)), GOOD),
    ("aci: expired", || asked(|a| a.now = UnixTime(NOON.0 + 1000)), "BUN-A04 bundle.aci.expired"),
    (
        "aci: nobody decided on custody",
        || asked(|a| a.custody = Danger::Refuse),
        "BUN-A05 bundle.aci.custody",
    ),
    (
        "aci: custody waived without a reason",
        || asked(|a| a.custody = Danger::Allow { reason: " ".into() }),
        "BUN-A05 policy.waiver-without-reason",
    ),
    // The evidence's own rules.
    (
        "aci: a quote over something else",
        || good(|s| s.td = |td| td.report_data[0] ^= 1),
        "TDX-28 binding.report-data",
    ),
    (
        "aci: a quote with something behind the digest",
        || good(|s| s.td = |td| td.report_data[63] = 1),
        "TDX-28 binding.report-data",
    ),
    ("aci: a debug TD", || good(|s| s.td = |td| td.attributes |= 1), "TDX-16 tdx.td.debug"),
    (
        "aci: another compose file",
        || good(|s| s.measured.set("compose-hash", &[7; 32])),
        "LOG-06 log.event.required",
    ),
    // BUN-04, BUN-A06 to BUN-A10.
    (
        "aci: devices waived without a reason",
        || asked(|a| a.devices = DeviceTerms::DangerNotVerified { reason: String::new() }),
        "BUN-04 policy.waiver-without-reason",
    ),
    (
        "aci: a policy that asks for no log",
        || asked(|a| a.terms.event_log = LogPolicy::NotAsked),
        "BUN-A06 bundle.register-not-asked",
    ),
    (
        "aci: boot did not end",
        || good(|s| s.measured.without("system-ready")),
        "BUN-A07 bundle.boot.no-event",
    ),
    (
        "aci: the application measures the compose file that the policy wants",
        || {
            good(|s| {
                s.measured.set("compose-hash", &[7; 32]);
                s.measured.after("miner", "compose-hash", &sha256(COMPOSE.as_bytes()));
            })
        },
        "BUN-A07 bundle.boot.late",
    ),
    ("aci: no app-id", || good(|s| s.measured.without("app-id")), "BUN-A08 bundle.boot.no-event"),
    (
        "aci: a compose file that was not measured",
        || evidence(|e| e["app_compose"] = "{}".into()),
        "BUN-A09 bundle.digest",
    ),
    (
        "aci: quote_report_data of another",
        || evidence(|e| e["quote_report_data"] = "00".repeat(64).into()),
        "BUN-A10 bundle.digest",
    ),
];
