//! Bundles of other systems.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::bundle::{BoundValue, Bundle, BundleQuestion, Challenge, DeviceTerms, VerifiedBundle};
use casemate_attest::snp::{ProductLine, SnpPolicy};
use casemate_attest::{Danger, Expected, Policy, Revocation, TrustAnchors, UnixTime};
use casemate_sim::{MachineConfig, Vendor};
use serde_json::json;

const NOW: UnixTime = UnixTime(1_795_478_400);
const NONCE: [u8; 32] = [7; 32];
const DIGEST: [u8; 48] = [0x4d; 48];

struct Sample {
    document: Vec<u8>,
    anchors: TrustAnchors,
    policy: Policy,
    values: Vec<BoundValue>,
}

/// Bytes of no declared form, or edits to a document of a simulated machine: what is still verified says nothing else of its keys.
pub fn bundle(data: &[u8]) {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        let parsed = Bundle::parse(rest);
        assert!(parsed.is_err() || Bundle::looks_like(rest), "a bundle that does not look like one");
        let _ = parsed.map(|bundle| bundle.unverified());
        return;
    }
    let sample = SAMPLE.get_or_init(sample);
    let document = crate::edited(&[&sample.document], rest).remove(0);
    if let Some(verified) = verified(sample, &document) {
        for value in verified.values() {
            assert!(sample.values.contains(value), "forged: {value:?}");
        }
    } else {
        assert_ne!(document, sample.document, "the sample is verified");
    }
}

/// Version 3 of Tinfoil's, on SEV-SNP, with the endorsements in it.
fn sample() -> Sample {
    let vendor = Vendor::create(ProductLine::Turin, NOW).expect("a vendor");
    let machine = vendor.machine(&MachineConfig::for_line(ProductLine::Turin, 5, DIGEST)).expect("a machine");
    let key = |id: &str, format: &str| json!({ "id": id, "format": format!("https://tinfoil.sh/key/{format}/v1"), "data": "48".repeat(32) });
    let keys = json!({
        "format": "https://tinfoil.sh/crypto-material/v1",
        "items": [key("tls", "spki-fp-sha256"), key("hpke", "x25519-hpke")],
    });
    let devices = json!({ "format": "https://tinfoil.sh/device-evidence/v1", "items": [] });
    let (keys, devices) = (keys.to_string(), devices.to_string());
    let (key_digest, device_digest) = (sha256(keys.as_bytes()), sha256(devices.as_bytes()));
    let algorithm = "https://tinfoil.sh/report-data/v1";
    let digest = sha256(&[algorithm.as_bytes(), &NONCE, &key_digest, &device_digest].concat());
    let report_data: [u8; 64] = [digest, [0; 32]].concat().try_into().expect("64 bytes");
    let entry = |id: &str, format: &str, data: serde_json::Value| {
        let format = format!("https://tinfoil.sh/collateral/{format}/v1");
        json!({ "id": id, "role": "endorsement", "format": format, "subjects": ["cpu"], "data": data })
    };
    let document = json!({
        "format": "https://tinfoil.sh/predicate/attestation/v3",
        "challenge": {
            "nonce": hex::encode(NONCE),
            "report_data": hex::encode(report_data),
            "report_data_algorithm": algorithm,
        },
        "cpu_evidence": {
            "format": "https://tinfoil.sh/format/sev-snp-report/v1",
            "report_base64": STANDARD.encode(machine.report(&report_data).expect("a report")),
            "endorsed": {
                "crypto_material_hash": hex::encode(key_digest),
                "device_evidence_hash": hex::encode(device_digest),
            },
        },
        "crypto_material": STANDARD.encode(keys),
        "device_evidence": STANDARD.encode(devices),
        "collateral": [
            entry("vcek", "amd-vcek", json!({
                "vcek_der_base64": STANDARD.encode(machine.vek_der()),
                "cert_chain_pem": "",
            })),
            entry("crl", "amd-crl", json!({ "crl_der_base64": STANDARD.encode(machine.crl_der()) })),
        ],
    });
    let mut sample = Sample {
        document: document.to_string().into_bytes(),
        anchors: TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("a danger root"),
        policy: Policy::for_snp(SnpPolicy::strict(Expected::OneOf(vec![DIGEST]))),
        values: Vec::new(),
    };
    let good = verified(&sample, &sample.document).expect("the sample is verified");
    sample.values = good.values().to_vec();
    assert_eq!(sample.values.len(), 2);
    sample
}

fn verified(sample: &Sample, document: &[u8]) -> Option<VerifiedBundle> {
    let bundle = Bundle::parse(document).ok()?;
    let question = BundleQuestion {
        policy: &sample.policy,
        anchors: &sample.anchors,
        now: NOW,
        challenge: Challenge::Nonce(NONCE.to_vec()),
        endorsements: None,
        revocation: Revocation::Missing,
        ak_certificate: None,
        event_log: None,
        devices: DeviceTerms::None,
        key_custody: Danger::Refuse,
    };
    bundle.verify(&question).ok()
}

fn sha256(message: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
    digest.as_ref().try_into().expect("32 bytes")
}
