//! Reports of dstack's inference servers, with one change each, under a made-up vendor.

use casemate_attest::Expected;
use casemate_attest::bundle::{Challenge, DeviceTerms};
use casemate_attest::eventlog::{DstackVersion, LogPolicy, RegisterTerms};
use serde_json::{Value, json};

use crate::Case;
use crate::machine::{APP_ID, Asked, COMPOSE, Measured, NONCE, swept, vendor};
use crate::recorded::file;
use crate::tdx_vendor::{Td, sha256};

/// Of [`point`], as another implementation of Keccak-256 has it.
const ADDRESS: [u8; 20] = [
    0xf6, 0x2f, 0xff, 0xa4, 0xd9, 0x2b, 0xcd, 0xfc, 0x31, 0x0d, 0xcc, 0xbe, 0x94, 0x37, 0x47, 0xfe, 0x83,
    0x02, 0xe8, 0x71,
];
const TLS: [u8; 32] = [0x75; 32];

/// x is 0x11, y 0x22, in every byte.
fn point() -> Vec<u8> {
    [&[4][..], &[0x11; 32], &[0x22; 32]].concat()
}

/// A server before it is asked.
struct Server {
    measured: Measured,
    algorithm: &'static str,
    address: Vec<u8>,
    public: Option<Vec<u8>>,
    tls: Option<[u8; 32]>,
    report_data: fn(&Server) -> [u8; 64],
    td: fn(&mut Td),
}

impl Server {
    fn new() -> Self {
        Self {
            measured: Measured::new(),
            algorithm: "ecdsa",
            address: ADDRESS.to_vec(),
            public: Some(point()),
            tls: None,
            report_data: formula,
            td: |_| {},
        }
    }

    fn report(&self) -> Value {
        let mut td = self.measured.td((self.report_data)(self));
        (self.td)(&mut td);
        let prefix = if self.algorithm == "ecdsa" { "0x" } else { "" };
        let mut report = json!({
            "model_name": "a-model",
            "signing_address": format!("{prefix}{}", hex::encode(&self.address)),
            "signing_algo": self.algorithm,
            "request_nonce": hex::encode(NONCE),
            "intel_quote": hex::encode(vendor().quote(&td)),
            "nvidia_payload": json!({ "nonce": hex::encode(NONCE), "evidence_list": [], "arch": "HOPPER" }).to_string(),
            "event_log": self.measured.log(),
            "info": {
                "app_name": "a-name",
                "app_id": hex::encode(APP_ID),
                "instance_id": "19".repeat(20),
                "compose_hash": hex::encode(sha256(COMPOSE.as_bytes())),
                "os_image_hash": "05".repeat(32),
                "vm_config": "{}",
                "tcb_info": {
                    "mrtd": hex::encode(td.mrtd),
                    "rtmr0": hex::encode(td.rtmrs[0]),
                    "rtmr1": hex::encode(td.rtmrs[1]),
                    "rtmr2": hex::encode(td.rtmrs[2]),
                    "rtmr3": hex::encode(td.rtmrs[3]),
                    "app_compose": COMPOSE,
                    "compose_hash": "",
                    "event_log": [],
                },
            },
        });
        if let Some(public) = &self.public {
            report["signing_public_key"] = hex::encode(public).into();
        }
        if let Some(tls) = self.tls {
            report["tls_cert_fingerprint"] = hex::encode(tls).into();
        }
        report
    }
}

/// As the servers compute it.
fn formula(server: &Server) -> [u8; 64] {
    let first = match server.tls {
        Some(tls) => sha256(&[server.address.as_slice(), &tls].concat()).to_vec(),
        None => {
            let mut padded = server.address.clone();
            padded.resize(32, 0);
            padded
        }
    };
    [first.as_slice(), &NONCE].concat().try_into().expect("64 bytes")
}

/// A report that nobody changed, asked by somebody who wants it.
fn good(change: impl FnOnce(&mut Server)) -> String {
    made(change, |_| {}, |_| {})
}

/// A report that somebody changed on the way.
fn sent(change: impl FnOnce(&mut Value)) -> String {
    made(|_| {}, change, |_| {})
}

fn asked(change: impl FnOnce(&mut Asked)) -> String {
    made(|_| {}, |_| {}, change)
}

fn made(
    server: impl FnOnce(&mut Server),
    report: impl FnOnce(&mut Value),
    question: impl FnOnce(&mut Asked),
) -> String {
    let mut own = Server::new();
    server(&mut own);
    let mut value = own.report();
    report(&mut value);
    let mut asked = Asked::new(own.measured.version);
    question(&mut asked);
    asked.answer(value.to_string().as_bytes())
}

fn log(report: &mut Value) -> &mut Vec<Value> {
    report["event_log"].as_array_mut().expect("a list")
}

/// An event as the firmware's are logged: with a digest, and without what it is of.
fn disguised(event: &mut Value) {
    event["event_type"] = 4.into();
    event["event"] = "".into();
    event["event_payload"] = "".into();
}

fn ed25519(server: &mut Server) {
    server.algorithm = "ed25519";
    server.address = vec![0xed; 32];
    server.public = Some(vec![0xed; 32]);
}

/// One in a gateway's answer, with what else is there.
fn gateway(part: Option<&'static str>, change: impl FnOnce(&mut Value)) -> String {
    let mut answer = json!({
        "gateway_attestation": Server::new().report(),
        "model_attestations": [Server::new().report(), Server::new().report()],
        "tls_certificate": "-",
    });
    change(&mut answer);
    let mut asked = Asked::new(DstackVersion::V1);
    asked.part = part;
    asked.answer(answer.to_string().as_bytes())
}

/// A report that stands twice in its answer, and another one.
fn twice(part: Option<&'static str>, change: impl FnOnce(&mut Value)) -> String {
    let report = Server::new().report();
    let mut answer = report.clone();
    answer["all_attestations"] = json!([report]);
    change(&mut answer);
    let mut asked = Asked::new(DstackVersion::V1);
    asked.part = part;
    asked.answer(answer.to_string().as_bytes())
}

fn bound() -> String {
    let mut server = Server::new();
    server.tls = Some(TLS);
    let bytes = server.report().to_string();
    let asked = Asked::new(DstackVersion::V1);
    let bundle = asked.parse(bytes.as_bytes()).expect("a bundle");
    let not_asked: Vec<_> = bundle.not_asked().iter().map(|part| part.what.clone()).collect();
    assert_eq!(not_asked, ["model_name", "info.tcb_info.event_log", "info.app_name", "info.vm_config",]);
    let verified = asked.verify(&bundle).expect("verified");
    assert_eq!(verified.bound("signer-ethereum-address"), Some(&ADDRESS[..]));
    assert_eq!(verified.bound("tls-spki-sha256"), Some(&TLS[..]));
    assert_eq!(verified.bound("app-id"), Some(&APP_ID[..]));
    assert_eq!(verified.bound("compose-hash"), Some(&sha256(COMPOSE.as_bytes())[..]));
    assert_eq!(verified.bound("signer-secp256k1"), Some(&point()[1..]));
    assert_eq!(verified.bound("signer-ed25519"), None);
    let names: Vec<_> = verified.values().iter().map(|value| value.name).collect();
    names.join(", ")
}

/// A bundle that is a bomb, or that no reader should see two ways.
fn text(bytes: &str) -> String {
    Asked::new(DstackVersion::V1).answer(bytes.as_bytes())
}

fn replaced(from: &str, to: &str) -> String {
    let report = Server::new().report().to_string();
    assert!(report.contains(from), "{from}");
    text(&report.replacen(from, to, 1))
}

/// Every prefix of a report, and every report without one of its members.
fn shortened() -> String {
    let report = Server::new().report();
    let whole = report.to_string();
    for length in (0..whole.len()).step_by(7) {
        let code = text(&whole[..length]);
        assert!(["bundle.json", "bundle.unknown-system"].contains(&code.as_str()), "{length}: {code}");
    }
    let mut codes = Vec::new();
    let mut members: Vec<_> = report.as_object().expect("an object").keys().collect();
    members.sort();
    for member in members {
        let mut without = report.clone();
        without.as_object_mut().expect("an object").remove(member);
        codes.push(format!("{member}: {}", text(&without.to_string())));
    }
    codes.join("; ")
}

fn sweep() -> String {
    let mut server = Server::new();
    server.tls = Some(TLS);
    swept(server.report().to_string().as_bytes(), || Asked::new(DstackVersion::V1))
}

pub(crate) const CASES: &[Case] = &[
    ("dstack: one bit of every byte", sweep, "what is accepted says nothing else"),
    ("dstack: signer", || good(|_| {}), "verified"),
    (
        "dstack: what comes out",
        bound,
        "signer-ethereum-address, tls-spki-sha256, signer-secp256k1, app-id, compose-hash, instance-id, os-image-hash, key-provider",
    ),
    ("dstack: Ed25519", || good(ed25519), "verified"),
    ("dstack: signer and TLS key", || good(|s| s.tls = Some(TLS)), "verified"),
    (
        "dstack: Ed25519 and TLS key",
        || {
            good(|s| {
                ed25519(s);
                s.tls = Some(TLS);
            })
        },
        "verified",
    ),
    ("dstack: events of version 2", || good(|s| s.measured.version = DstackVersion::V2), "verified"),
    ("dstack: log as text", || sent(|r| r["event_log"] = r["event_log"].to_string().into()), "verified"),
    (
        "dstack: tcb_info as text",
        || sent(|r| r["info"]["tcb_info"] = r["info"]["tcb_info"].to_string().into()),
        "verified",
    ),
    ("dstack: without info", || sent(|r| r["info"] = Value::Null), "verified"),
    ("dstack: without devices", || sent(|r| r["nvidia_payload"] = "".into()), "verified"),
    ("dstack: members of another release", || sent(|r| r["later"] = json!({ "a": [1] })), "verified"),
    ("dstack: nothing of the application measured", || good(|s| s.measured.without("miner")), "verified"),
    // BUN-01, form.
    ("dstack: every length, every member", shortened, SHORTENED),
    (
        "dstack: a member twice",
        || replaced("\"event_log\"", "\"event_log\":[],\"event_log\""),
        "bundle.member.duplicate",
    ),
    (
        "dstack: a member of an event twice",
        || replaced("\"digest\"", "\"digest\":\"\",\"digest\""),
        "bundle.member.duplicate",
    ),
    (
        "dstack: a member twice within text",
        || sent(|r| r["info"]["tcb_info"] = r#"{"mrtd":"","mrtd":""}"#.into()),
        "bundle.member.duplicate",
    ),
    (
        "dstack: a nested bomb",
        || text(&format!("{{\"intel_quote\":\"\",\"signing_address\":{}", "[".repeat(100_000))),
        "bundle.json",
    ),
    ("dstack: 10 MiB", || text(&format!("{{{}", " ".repeat(10 * 1024 * 1024))), "bundle.too-long"),
    ("dstack: a quote that is none", || sent(|r| r["intel_quote"] = "00".into()), "evidence.unknown-format"),
    (
        "dstack: a quote in base64",
        || sent(|r| r["intel_quote"] = "BAACAIE=".into()),
        "bundle.member.encoding",
    ),
    ("dstack: another algorithm", || sent(|r| r["signing_algo"] = "rsa".into()), "bundle.version"),
    (
        "dstack: a nonce of 31 bytes",
        || sent(|r| r["request_nonce"] = "6e".repeat(31).into()),
        "bundle.member.length",
    ),
    (
        "dstack: an address without 0x",
        || sent(|r| r["signing_address"] = hex::encode(ADDRESS).into()),
        "bundle.member.encoding",
    ),
    (
        "dstack: a key of 20 bytes",
        || sent(|r| r["tls_cert_fingerprint"] = "75".repeat(20).into()),
        "bundle.member.length",
    ),
    ("dstack: a log that is an object", || sent(|r| r["event_log"] = json!({})), "bundle.member.type"),
    (
        "dstack: an event with a digest of another",
        || sent(|r| log(r)[2]["event_payload"] = "00".into()),
        "log.format.dstack-digest",
    ),
    (
        "dstack: too many devices",
        || sent(|r| r["nvidia_payload"] = json!({ "nonce": "6e".repeat(32), "evidence_list": vec![0; 65] })),
        "bundle.item.too-many",
    ),
    (
        "dstack: a device that is none",
        || {
            sent(|r| {
                r["nvidia_payload"] = json!({ "nonce": "6e".repeat(32), "evidence_list": [{ "certificate": "", "evidence": "" }] })
            })
        },
        "nvidia.format.truncated",
    ),
    ("dstack: Chutes' answer", || sent(|r| r["attestation_type"] = "chutes".into()), "bundle.unknown-system"),
    // BUN-01, which of several.
    ("dstack: gateway, nobody said which", || gateway(None, |_| {}), "bundle.part.several"),
    ("dstack: gateway", || gateway(Some("gateway"), |_| {}), "verified"),
    ("dstack: second model", || gateway(Some("model-2"), |_| {}), "verified"),
    ("dstack: third model", || gateway(Some("model-3"), |_| {}), "bundle.part.unknown"),
    ("dstack: gateway alone", || gateway(None, |a| a["model_attestations"] = Value::Null), "verified"),
    (
        "dstack: a list of one text",
        || gateway(Some("gateway"), |a| a["model_attestations"] = json!([""])),
        "bundle.member.type",
    ),
    (
        "dstack: a gateway beside a report",
        || {
            gateway(None, |a| {
                let report = a["gateway_attestation"].clone();
                *a = report.clone();
                a["gateway_attestation"] = report;
            })
        },
        "bundle.contradiction",
    ),
    ("dstack: alone, by its name", || asked(|a| a.part = Some("report")), "verified"),
    ("dstack: alone, by another name", || asked(|a| a.part = Some("gateway")), "bundle.part.unknown"),
    ("dstack: a report that stands twice", || twice(None, |_| {}), "verified"),
    (
        "dstack: and differs",
        || twice(None, |a| a["all_attestations"][0]["model_name"] = "another".into()),
        "bundle.contradiction",
    ),
    (
        "dstack: and another one",
        || twice(None, |a| a["all_attestations"].as_array_mut().expect("a list").push(json!({}))),
        "bundle.part.several",
    ),
    (
        "dstack: and another one, named",
        || {
            twice(Some("instance-1"), |a| {
                a["all_attestations"].as_array_mut().expect("a list").push(json!({}))
            })
        },
        "verified",
    ),
    ("dstack: the bare quote's words", || text(r#"{"intel_quote":""}"#), "bundle.unknown-system"),
    // BUN-02, BUN-03, BUN-04.
    ("dstack: no collateral", || asked(|a| a.endorsed = false), "BUN-02 bundle.endorsements.missing"),
    (
        "dstack: another nonce",
        || asked(|a| a.challenge = Challenge::Nonce(vec![1; 32])),
        "BUN-03 bundle.challenge.differs",
    ),
    (
        "dstack: no nonce asked",
        || asked(|a| a.challenge = Challenge::DangerNone { reason: "an audit".into() }),
        "verified, waived: BUN-03",
    ),
    (
        "dstack: report data asked",
        || asked(|a| a.challenge = Challenge::ReportData(vec![0; 64])),
        "BUN-03 bundle.challenge.not-report-data",
    ),
    (
        "dstack: a nonce that the quote does not answer",
        || {
            let other = |report: &mut Value| {
                report["request_nonce"] = "01".repeat(32).into();
                report["nvidia_payload"] = Value::Null;
            };
            made(|_| {}, other, |a| a.challenge = Challenge::Nonce(vec![1; 32]))
        },
        "TDX-28 binding.report-data",
    ),
    (
        "dstack: devices that were left out",
        || asked(|a| a.devices = DeviceTerms::DangerNotVerified { reason: " ".into() }),
        "BUN-04 policy.waiver-without-reason",
    ),
    // The evidence's own rules.
    ("dstack: a debug TD", || good(|s| s.td = |td| td.attributes |= 1), "TDX-16 tdx.td.debug"),
    ("dstack: another image", || good(|s| s.td = |td| td.mrtd = [0; 48]), "TDX-20 tdx.mrtd.not-accepted"),
    (
        "dstack: another signer",
        || {
            sent(|r| {
                r["signing_address"] = format!("0x{}", "e8".repeat(20)).into();
                r["signing_public_key"] = Value::Null;
            })
        },
        "TDX-28 binding.report-data",
    ),
    (
        "dstack: a TLS key that is not bound",
        || sent(|r| r["tls_cert_fingerprint"] = "75".repeat(32).into()),
        "TDX-28 binding.report-data",
    ),
    (
        "dstack: a TLS key that was left out",
        || {
            made(
                |s| s.tls = Some(TLS),
                |r| drop(r.as_object_mut().expect("an object").remove("tls_cert_fingerprint")),
                |_| {},
            )
        },
        "TDX-28 binding.report-data",
    ),
    (
        "dstack: another TLS key",
        || made(|s| s.tls = Some(TLS), |r| r["tls_cert_fingerprint"] = "76".repeat(32).into(), |_| {}),
        "TDX-28 binding.report-data",
    ),
    ("dstack: no log", || sent(|r| r["event_log"] = Value::Null), "LOG-01 log.missing"),
    ("dstack: an event left out", || sent(|r| drop(log(r).remove(3))), "LOG-03 log.register.mismatch"),
    ("dstack: events swapped", || sent(|r| log(r).swap(3, 4)), "LOG-03 log.register.mismatch"),
    (
        "dstack: another compose file",
        || good(|s| s.measured.set("compose-hash", &[7; 32])),
        "LOG-06 log.event.required",
    ),
    // BUN-D01, BUN-D03.
    ("dstack: an address of 19 bytes", || good(|s| s.address.truncate(19)), "BUN-D01 bundle.dstack.signer"),
    (
        "dstack: an Ed25519 key of 20 bytes",
        || {
            good(|s| {
                s.algorithm = "ed25519";
                s.public = None;
            })
        },
        "BUN-D01 bundle.dstack.signer",
    ),
    (
        "dstack: an address as a key",
        || {
            made(
                |_| {},
                |r| {
                    r["signing_algo"] = "ed25519".into();
                    r["signing_public_key"] = Value::Null;
                    r["signing_address"] = format!("{}{}", hex::encode(ADDRESS), "00".repeat(12)).into();
                },
                |_| {},
            )
        },
        "verified",
    ),
    ("dstack: nobody's address", || good(|s| s.address = vec![0; 20]), "BUN-D01 bundle.dstack.signer"),
    // BUN-D02, BUN-D03.
    ("dstack: no public key", || good(|s| s.public = None), "verified"),
    (
        "dstack: a public key without its first octet",
        || good(|s| s.public = Some(point()[1..].to_vec())),
        "verified",
    ),
    (
        "dstack: another public key",
        || sent(|r| r["signing_public_key"] = format!("04{}", "12".repeat(64)).into()),
        "BUN-D02 bundle.value",
    ),
    (
        "dstack: a compressed public key",
        || sent(|r| r["signing_public_key"] = format!("02{}", "11".repeat(32)).into()),
        "BUN-D02 bundle.value",
    ),
    (
        "dstack: a public key that is none",
        || sent(|r| r["signing_public_key"] = "".into()),
        "BUN-D02 bundle.value",
    ),
    (
        "dstack: a public key in base64",
        || sent(|r| r["signing_public_key"] = "BAA=".into()),
        "bundle.member.encoding",
    ),
    (
        "dstack: a long public key",
        || sent(|r| r["signing_public_key"] = "11".repeat(129).into()),
        "bundle.member.encoding",
    ),
    (
        "dstack: another Ed25519 key",
        || made(ed25519, |r| r["signing_public_key"] = "ee".repeat(32).into(), |_| {}),
        "BUN-D02 bundle.value",
    ),
    (
        "dstack: devices that were asked with another nonce",
        || sent(|r| r["nvidia_payload"] = json!({ "nonce": "01".repeat(32), "evidence_list": [] })),
        "BUN-D03 bundle.digest",
    ),
    // BUN-D04.
    (
        "dstack: a policy that asks for no log",
        || asked(|a| a.terms.event_log = LogPolicy::NotAsked),
        "BUN-D04 bundle.register-not-asked",
    ),
    (
        "dstack: a policy that asks for another register",
        another_register,
        "BUN-D04 bundle.register-not-asked",
    ),
    // BUN-D05.
    (
        "dstack: boot did not end",
        || good(|s| s.measured.without("system-ready")),
        "BUN-D05 bundle.boot.no-event",
    ),
    (
        "dstack: an event that shows nothing",
        || sent(|r| disguised(&mut log(r)[3])),
        "BUN-D05 bundle.boot.unproven",
    ),
    (
        "dstack: an event of the application that shows nothing",
        || sent(|r| disguised(&mut log(r)[10])),
        "BUN-D05 bundle.boot.unproven",
    ),
    (
        "dstack: compose-hash twice",
        || good(|s| s.measured.after("compose-hash", "compose-hash", &[7; 32])),
        "BUN-D05 bundle.boot.twice",
    ),
    (
        "dstack: app-id twice",
        || good(|s| s.measured.after("", "app-id", &[7; 20])),
        "BUN-D05 bundle.boot.twice",
    ),
    (
        "dstack: compose-hash twice, once with a longer name",
        || good(|s| s.measured.after("compose-hash", "compose-hash:x", &[7; 32])),
        "BUN-D05 bundle.boot.twice",
    ),
    (
        "dstack: the application measures the compose file that the policy wants",
        || {
            good(|s| {
                s.measured.set("compose-hash", &[7; 32]);
                s.measured.after("miner", "compose-hash", &sha256(COMPOSE.as_bytes()));
            })
        },
        "BUN-D05 bundle.boot.late",
    ),
    (
        "dstack: the application boots again",
        || good(|s| s.measured.after("miner", "system-ready", &[])),
        "BUN-D05 bundle.boot.late",
    ),
    (
        "dstack: a whole boot of the application's, and its own boot disguised",
        || {
            made(
                |s| {
                    let again = s.measured.events.clone();
                    s.measured.set("compose-hash", &[7; 32]);
                    s.measured.events.extend(again);
                },
                |r| log(r).iter_mut().take(11).for_each(disguised),
                |_| {},
            )
        },
        "BUN-D05 bundle.boot.unproven",
    ),
    // BUN-D06.
    ("dstack: no app-id", || good(|s| s.measured.without("app-id")), "BUN-D06 bundle.boot.no-event"),
    ("dstack: an empty app-id", || good(|s| s.measured.set("app-id", &[])), "BUN-D06 bundle.boot.no-event"),
    (
        "dstack: no compose-hash",
        || made(|s| s.measured.without("compose-hash"), |_| {}, without_required),
        "BUN-D06 bundle.boot.no-event",
    ),
    (
        "dstack: a compose-hash of 20 bytes",
        || made(|s| s.measured.set("compose-hash", &[7; 20]), |_| {}, without_required),
        "BUN-D06 bundle.boot.length",
    ),
    // BUN-D07, BUN-D08.
    (
        "dstack: a compose file that was not measured",
        || sent(|r| r["info"]["tcb_info"]["app_compose"] = "{}".into()),
        "BUN-D07 bundle.digest",
    ),
    (
        "dstack: app_id of another",
        || sent(|r| r["info"]["app_id"] = "00".repeat(20).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: compose_hash of another",
        || sent(|r| r["info"]["compose_hash"] = "00".repeat(32).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: instance_id of another",
        || sent(|r| r["info"]["instance_id"] = "00".repeat(20).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: os_image_hash of another",
        || sent(|r| r["info"]["os_image_hash"] = "00".repeat(32).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: os_image_hash that was not measured",
        || good(|s| s.measured.without("os-image-hash")),
        "verified",
    ),
    (
        "dstack: mrtd of another",
        || sent(|r| r["info"]["tcb_info"]["mrtd"] = "00".repeat(48).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: rtmr3 of another",
        || sent(|r| r["info"]["tcb_info"]["rtmr3"] = "00".repeat(48).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: report_data of another",
        || sent(|r| r["report_data"] = "00".repeat(64).into()),
        "BUN-D08 bundle.digest",
    ),
    (
        "dstack: report_data",
        || sent(|r| r["report_data"] = hex::encode(formula(&Server::new())).into()),
        "verified",
    ),
];

/// With the evidence of a real H100.
pub(crate) const RECORDED: &[Case] = &[
    ("dstack: a device that nobody expects", || device(|_| {}), "BUN-04 bundle.devices.not-expected"),
    (
        "dstack: a device that is not looked at",
        || device(|a| a.devices = DeviceTerms::DangerNotVerified { reason: "an audit of the TD".into() }),
        "verified, waived: BUN-04",
    ),
];

fn device(question: impl FnOnce(&mut Asked)) -> String {
    let list = file("nvidia/attestation-sdk/serialized_test_evidence/hopper_evidence.json");
    let list: Value = serde_json::from_slice(&list).expect("a list of devices");
    let payload = json!({ "nonce": hex::encode(NONCE), "evidence_list": list, "arch": "HOPPER" });
    made(|_| {}, |r| r["nvidia_payload"] = payload.to_string().into(), question)
}

const SHORTENED: &str = "event_log: LOG-01 log.missing; info: verified; intel_quote: bundle.unknown-system; \
    model_name: verified; nvidia_payload: verified; request_nonce: bundle.member.missing; \
    signing_address: bundle.unknown-system; signing_algo: bundle.member.missing; signing_public_key: verified";

/// A TD that measured nothing at run time, and terms that are content with an empty RTMR2.
fn another_register() -> String {
    made(
        |s| {
            s.td = |td| {
                td.rtmrs[2] = [0; 48];
                td.rtmrs[3] = [0; 48];
            };
        },
        |r| log(r).clear(),
        |a| {
            let LogPolicy::Demanded(terms) = &mut a.terms.event_log else { panic!("terms") };
            let none = RegisterTerms { events: Expected::OneOf(Vec::new()), required: Vec::new() };
            terms.registers = [(2, none)].into();
        },
    )
}

/// Terms that ask for app-id only.
fn without_required(asked: &mut Asked) {
    let LogPolicy::Demanded(terms) = &mut asked.terms.event_log else { panic!("terms") };
    let app = DstackVersion::V1.measured("app-id", &APP_ID);
    for register in terms.registers.values_mut() {
        register.required = vec![crate::tdx_vendor::sha384(&app).to_vec()];
    }
}
