//! Tinfoil's document of version 3 over a SEV-SNP report (spec/bundles.md §3): a report that binds what the document's
//! formula says can only be had of a machine that is asked, so that no recording serves.

#[allow(dead_code)] // the other cases use more of it
mod attempt;

use attempt::{LAUNCH_DIGEST, NOW, terms, vendor};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::bundle::{Bundle, BundleQuestion, Challenge, DeviceTerms};
use casemate_attest::snp::ProductLine;
use casemate_attest::{Danger, Endorsements, Policy, Revocation, TrustAnchors};
use casemate_sim::MachineConfig;

const NONCE: [u8; 32] = [0x17; 32];
const TLS: [u8; 32] = [0x75; 32];
const ALGORITHM: &str = "https://tinfoil.sh/report-data/v1";

/// What a case changes.
struct Case {
    /// With what the formula begins that the report binds.
    label: &'static str,
    /// The sections that are sent; those that were bound have the key above and no device.
    key: [u8; 32],
    format: &'static str,
    /// XORed into the report behind its digest's end.
    tail: u8,
    challenge: [u8; 32],
    endorsed: bool,
    revocation: Option<Revocation>,
}

fn good() -> Case {
    Case {
        label: ALGORITHM,
        key: TLS,
        format: "sev-snp-report",
        tail: 0,
        challenge: NONCE,
        endorsed: true,
        revocation: None,
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn keys(key: [u8; 32]) -> String {
    let format = "https://tinfoil.sh/key/spki-fp-sha256/v1";
    let item = format!(r#"{{"id":"tls","format":"{format}","data":"{}"}}"#, hex::encode(key));
    format!(r#"{{"format":"https://tinfoil.sh/crypto-material/v1","items":[{item}]}}"#)
}

const DEVICES: &str = r#"{"format":"https://tinfoil.sh/device-evidence/v1","items":[]}"#;

fn report_data(label: &str, key: [u8; 32]) -> [u8; 64] {
    let sections = [sha256(keys(key).as_bytes()), sha256(DEVICES.as_bytes())].concat();
    let bound = sha256(&[label.as_bytes(), &NONCE, &sections].concat());
    [bound, [0; 32]].concat().try_into().expect("64 bytes")
}

/// "verified" and the TLS key, or the code.
fn answer(case: Case) -> String {
    let vendor = vendor(ProductLine::Genoa);
    let machine = vendor.machine(&MachineConfig::for_line(ProductLine::Genoa, 5, LAUNCH_DIGEST));
    let machine = machine.expect("a machine");
    let mut bound = report_data(case.label, TLS);
    bound[63] ^= case.tail;
    let report = machine.report(&bound).expect("a report");
    let document = format!(
        r#"{{"format":"https://tinfoil.sh/predicate/attestation/v3",
            "challenge":{{"nonce":"{}","report_data":"{}","report_data_algorithm":"{ALGORITHM}"}},
            "cpu_evidence":{{"format":"https://tinfoil.sh/format/{}/v1","report_base64":"{}",
                "endorsed":{{"crypto_material_hash":"{}","device_evidence_hash":"{}"}}}},
            "crypto_material":"{}","device_evidence":"{}","collateral":[]}}"#,
        hex::encode(NONCE),
        hex::encode(report_data(ALGORITHM, case.key)),
        case.format,
        STANDARD.encode(report),
        hex::encode(sha256(keys(case.key).as_bytes())),
        hex::encode(sha256(DEVICES.as_bytes())),
        STANDARD.encode(keys(case.key)),
        STANDARD.encode(DEVICES),
    );
    let bundle = match Bundle::parse(document.as_bytes()) {
        Ok(bundle) => bundle,
        Err(error) => return error.code().to_owned(),
    };
    let list = case.revocation.unwrap_or(Revocation::Crl(machine.crl_der().to_vec()));
    let endorsements = Endorsements::snp(machine.vek_der().to_vec(), list);
    let judged = bundle.verify(&BundleQuestion {
        policy: &Policy::for_snp(terms()),
        anchors: &TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("roots"),
        now: NOW,
        challenge: Challenge::Nonce(case.challenge.to_vec()),
        endorsements: case.endorsed.then_some(endorsements),
        revocation: Revocation::Missing,
        ak_certificate: None,
        event_log: None,
        devices: DeviceTerms::None,
        key_custody: Danger::Refuse,
    });
    match judged {
        Ok(verified) => {
            assert!(verified.simulated());
            let key = verified.bound("tls-spki-sha256").expect("a key");
            format!("verified, TLS key {:02x}", key[0])
        }
        Err(refused) => refused.code().to_owned(),
    }
}

#[test]
fn one_change_each() {
    type Changed = (&'static str, fn() -> Case, &'static str);
    let cases: [Changed; 9] = [
        ("as it is made", good, "verified, TLS key 75"),
        ("another nonce was asked", || Case { challenge: [0x18; 32], ..good() }, "bundle.challenge.differs"),
        (
            "other keys, with all that can be computed",
            || Case { key: [0x66; 32], ..good() },
            "binding.report-data",
        ),
        ("the formula without its label", || Case { label: "", ..good() }, "binding.report-data"),
        ("a bit behind the digest", || Case { tail: 1, ..good() }, "binding.report-data"),
        ("called a TD quote", || Case { format: "tdx-quote", ..good() }, "bundle.platform"),
        ("no endorsements", || Case { endorsed: false, ..good() }, "bundle.endorsements.missing"),
        ("no list", || Case { revocation: Some(Revocation::Missing), ..good() }, "crl.missing"),
        (
            "two lists, where one authority has one",
            || Case { revocation: Some(Revocation::of_lists(vec![vec![0x30]; 2])), ..good() },
            "crl.too-many",
        ),
    ];
    for (what, case, expected) in cases {
        assert_eq!(answer(case()), expected, "{what}");
    }
}
