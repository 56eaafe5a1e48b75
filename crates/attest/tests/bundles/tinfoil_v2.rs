//! Documents of Tinfoil of version 2, and bundles of them, over recorded reports.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::bundle::Challenge;
use serde_json::{Value, json};

use crate::Case;
use crate::recorded::file;
use crate::snp::{Recorded, gzip};

fn v2(report: &[u8]) -> Value {
    json!({
        "format": "https://tinfoil.sh/predicate/sev-snp-guest/v2",
        "body": STANDARD.encode(gzip(report)),
    })
}

/// A document over the recorded report, with the endorsements that were recorded with it.
fn recorded(change: impl FnOnce(&mut Value)) -> String {
    let recorded = Recorded::milan();
    let mut document = v2(&recorded.report());
    change(&mut document);
    recorded.answer(&document, Some(recorded.endorsements()))
}

/// The bundle around it, with nothing from elsewhere but a revocation list.
fn around(change: impl FnOnce(&mut Value)) -> String {
    let recorded = Recorded::milan();
    let mut bundle = json!({
        "domain": "a.example",
        "enclaveAttestationReport": v2(&recorded.report()),
        "digest": "00",
        "sigstoreBundle": {},
        "vcek": STANDARD.encode(recorded.vek()),
        "enclaveCert": "",
    });
    change(&mut bundle);
    recorded.answer(&bundle, None)
}

pub(crate) const RECORDED: &[Case] = &[
    ("tinfoil v2: recorded Milan", || recorded(|_| {}), "verified"),
    (
        "tinfoil v2: recorded Turin",
        || {
            let turin = Recorded::turin();
            turin.answer(&v2(&turin.report()), Some(turin.endorsements()))
        },
        "verified, waived: SNP-07",
    ),
    (
        "tinfoil v2: another exchange",
        || {
            let milan = Recorded::milan();
            milan.asked(&v2(&milan.report()), Challenge::ReportData(vec![0; 64]))
        },
        "binding.report-data",
    ),
    (
        "tinfoil v2: a nonce was asked",
        || {
            let milan = Recorded::milan();
            milan.asked(&v2(&milan.report()), Challenge::Nonce(vec![7; 32]))
        },
        "bundle.challenge.no-nonce",
    ),
    (
        "tinfoil v2: nothing was asked",
        || {
            let milan = Recorded::milan();
            milan.asked(&v2(&milan.report()), Challenge::DangerNone { reason: "an audit".into() })
        },
        "verified, waived: SNP-31, BUN-03",
    ),
    (
        "tinfoil v2: called a TD",
        || recorded(|d| d["format"] = "https://tinfoil.sh/predicate/tdx-guest/v2".into()),
        "bundle.platform",
    ),
    ("tinfoil v2: an unknown member", || recorded(|d| d["x"] = 1.into()), "bundle.member.unknown"),
    ("tinfoil v2: no body", || recorded(|d| remove(d, "body")), "bundle.member.missing"),
    (
        "tinfoil v2: a body that is not compressed",
        || recorded(|d| d["body"] = STANDARD.encode([0; 1184]).into()),
        "bundle.gzip",
    ),
    (
        "tinfoil v2: two gzip members",
        || recorded(|d| d["body"] = STANDARD.encode([gzip(b"a"), gzip(b"b")].concat()).into()),
        "bundle.gzip",
    ),
    (
        "tinfoil v2: a gigabyte of zeros",
        || recorded(|d| d["body"] = STANDARD.encode(bomb()).into()),
        "bundle.gzip",
    ),
    (
        "tinfoil v2: a byte short",
        || recorded(|d| d["body"] = STANDARD.encode(gzip(&[2; 1183])).into()),
        "evidence.unknown-format",
    ),
    (
        "tinfoil v2: a signed byte",
        || {
            let milan = Recorded::milan();
            let mut report = milan.report();
            report[0x90] ^= 1;
            milan.answer(&v2(&report), Some(milan.endorsements()))
        },
        "snp.signature.invalid",
    ),
    ("tinfoil v2: its bundle", || around(|_| {}), "verified"),
    (
        "tinfoil v2: its bundle without a VCEK",
        || around(|b| b["vcek"] = "".into()),
        "bundle.endorsements.missing",
    ),
    (
        "tinfoil v2: its bundle with null for a VCEK",
        || around(|b| b["vcek"] = Value::Null),
        "bundle.endorsements.missing",
    ),
    (
        "tinfoil v2: its bundle with another VCEK",
        || around(|b| b["vcek"] = STANDARD.encode(Recorded::turin().vek()).into()),
        "snp.tcb.reserved",
    ),
    (
        "tinfoil v2: its bundle with an unknown member",
        || around(|b| b["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "tinfoil v2: its bundle with another certificate",
        || around(|b| b["enclaveCert"] = certificate().into()),
        "bundle.value",
    ),
    (
        "tinfoil v2: its bundle with a damaged certificate",
        || around(|b| b["enclaveCert"] = "x".into()),
        "bundle.member.encoding",
    ),
    (
        "tinfoil v2: no key in the report",
        || {
            let milan = Recorded::genoa();
            milan.answer(&v2(&milan.report()), Some(milan.endorsements()))
        },
        "bundle.no-key",
    ),
];

/// Of another key than any recorded report binds.
fn certificate() -> String {
    String::from_utf8(file("azure/kinvolk/certs.pem")).expect("PEM")
}

/// 16 MiB of zeros, deflated: enough, since the limit is 64 KiB.
fn bomb() -> Vec<u8> {
    gzip(&vec![0; 16 * 1024 * 1024])
}

fn remove(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}
