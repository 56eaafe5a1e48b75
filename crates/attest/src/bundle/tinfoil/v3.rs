//! Version 3: a flat JSON document with two sections in base64, whose exact bytes are hashed into the report data.
//!
//! ```text
//! { "format": "https://tinfoil.sh/predicate/attestation/v3",
//!   "challenge": { "nonce": hex of 32, "report_data": hex of 64,
//!                  "report_data_algorithm": "https://tinfoil.sh/report-data/v1" },
//!   "cpu_evidence": { "format": "https://tinfoil.sh/format/{sev-snp-report|tdx-quote}/v1", "report_base64": base64,
//!                     "endorsed": { "crypto_material_hash": hex of 32, "device_evidence_hash": hex of 32 } },
//!   "crypto_material": base64 of { "format": "https://tinfoil.sh/crypto-material/v1",
//!                                  "items": [ { "id", "format", "data": hex } ] },
//!   "device_evidence": base64 of { "format": "https://tinfoil.sh/device-evidence/v1",
//!                                  "items": [ { "id", "kind", "vendor", "format", "evidence": … } ] },
//!   "collateral": [ { "id", "role", "format", "subjects"?, "data": … } ] }
//! ```

use serde_json::{Map, Value};

use super::{HPKE, TLS, Tinfoil, V3, collateral, unknown};
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::refused::BundleDenial;
use crate::bundle::{BoundValue, Content, MAX_DEVICES, NotAsked, Opened};
use crate::checks::Finding;
use crate::crypto;
use crate::evidence::{Evidence, Platform};
use crate::json;
use crate::nvidia::{GpuEvidence, NONCE_LEN};

const REPORT_DATA_V1: &str = "https://tinfoil.sh/report-data/v1";
const SNP_REPORT: &str = "https://tinfoil.sh/format/sev-snp-report/v1";
const TDX_QUOTE: &str = "https://tinfoil.sh/format/tdx-quote/v1";
const CRYPTO_MATERIAL: &str = "https://tinfoil.sh/crypto-material/v1";
const DEVICE_EVIDENCE: &str = "https://tinfoil.sh/device-evidence/v1";
const SPKI_DIGEST: &str = "https://tinfoil.sh/key/spki-fp-sha256/v1";
const SPKI: &str = "https://tinfoil.sh/key/spki/v1";
const X25519: &str = "https://tinfoil.sh/key/x25519-hpke/v1";
const NVIDIA_GPU: &str = "https://tinfoil.sh/format/nvidia-gpu-evidence/v1";
const NVIDIA_SWITCH: &str = "https://tinfoil.sh/format/nvidia-nvswitch-evidence/v1";

/// More keys are refused; documents have two.
const MAX_KEYS: usize = 16;
/// Longer keys are refused: the SubjectPublicKeyInfo of RSA-4096 has 550 bytes.
const MAX_KEY: usize = 4096;

/// The sections, and what the document states of them.
#[derive(Debug, Clone)]
pub(crate) struct Sections {
    crypto_material: Vec<u8>,
    device_evidence: Vec<u8>,
    stated_crypto_material: [u8; 32],
    stated_device_evidence: [u8; 32],
    stated_report_data: [u8; 64],
    keys: Vec<BoundValue>,
}

pub(super) fn open(document: Map<String, Value>) -> Result<Opened, BundleError> {
    let mut document = Members::of(Value::Object(document), "the document")?;
    expect(document.text("format")?, V3, "format")?;

    let mut challenge = document.object("challenge")?;
    expect(
        challenge.text("challenge.report_data_algorithm")?,
        REPORT_DATA_V1,
        "challenge.report_data_algorithm",
    )?;
    let nonce: [u8; NONCE_LEN] = challenge.hex("challenge.nonce")?;
    let stated_report_data = challenge.hex("challenge.report_data")?;
    challenge.end()?;

    let mut cpu = document.object("cpu_evidence")?;
    let named = match cpu.text("cpu_evidence.format")?.as_str() {
        SNP_REPORT => Platform::SevSnp,
        TDX_QUOTE => Platform::Tdx,
        other => return Err(unknown("cpu_evidence.format", other)),
    };
    let evidence = Evidence::parse(&cpu.base64("cpu_evidence.report_base64")?)?;
    if evidence.platform() != named {
        return Err(BundleError::Platform { named, found: evidence.platform() });
    }
    let mut endorsed = cpu.object("cpu_evidence.endorsed")?;
    cpu.end()?;
    let stated_crypto_material = endorsed.hex("cpu_evidence.endorsed.crypto_material_hash")?;
    let stated_device_evidence = endorsed.hex("cpu_evidence.endorsed.device_evidence_hash")?;
    endorsed.end()?;

    let mut not_asked = Vec::new();
    let crypto_material = document.base64("crypto_material")?;
    let keys = keys(&crypto_material, &mut not_asked)?;
    let device_evidence = document.base64("device_evidence")?;
    let devices = devices(&device_evidence)?;
    let entries = document.list("collateral", collateral::MAX_ENTRIES)?;
    document.end()?;
    let carried = collateral::open(entries, &evidence, &mut not_asked)?;

    let sections = Sections {
        crypto_material,
        device_evidence,
        stated_crypto_material,
        stated_device_evidence,
        stated_report_data,
        keys,
    };
    Ok(Opened {
        variant: "attestation/v3",
        evidence,
        carried,
        event_log: None,
        devices,
        // Every device answers the document's own nonce.
        device_nonce: Some(nonce),
        nonce: Some(nonce.to_vec()),
        content: Content::Tinfoil(Tinfoil::V3(sections)),
        not_asked,
    })
}

impl Sections {
    /// BUN-T01. The report data, as computed.
    pub(super) fn digests(&self, nonce: &[u8]) -> Result<(Vec<u8>, Finding), BundleDenial> {
        let crypto_material = crypto::sha256(&self.crypto_material);
        let device_evidence = crypto::sha256(&self.device_evidence);
        let message = [REPORT_DATA_V1.as_bytes(), nonce, &crypto_material, &device_evidence].concat();
        let report_data = [crypto::sha256(&message), [0; 32]].concat();
        for (member, expected, found) in [
            (
                "cpu_evidence.endorsed.crypto_material_hash",
                &crypto_material[..],
                &self.stated_crypto_material[..],
            ),
            (
                "cpu_evidence.endorsed.device_evidence_hash",
                &device_evidence[..],
                &self.stated_device_evidence[..],
            ),
            ("challenge.report_data", &report_data[..], &self.stated_report_data[..]),
        ] {
            if expected != found {
                let (expected, found) = (expected.to_vec(), found.to_vec());
                return Err(BundleDenial::Digest { member, expected, found });
            }
        }
        let finding = format!("report data is to be {}", hex::encode(&report_data));
        Ok((report_data, Finding::Pass(finding)))
    }

    /// BUN-T02.
    pub(super) fn keys(&self) -> Result<(Vec<BoundValue>, Finding), BundleDenial> {
        if self.keys.is_empty() {
            return Err(BundleDenial::NoKey { name: "key" });
        }
        if let Some(zero) = self.keys.iter().find(|key| key.value.iter().all(|octet| *octet == 0)) {
            return Err(BundleDenial::NoKey { name: zero.name });
        }
        let finding = format!("{} of the section whose digest is bound", self.keys.len());
        Ok((self.keys.clone(), Finding::Pass(finding)))
    }
}

/// The items of crypto_material. Two of them have a meaning by their name; of others whoever knows the name knows it.
fn keys(section: &[u8], not_asked: &mut Vec<NotAsked>) -> Result<Vec<BoundValue>, BundleError> {
    let mut section = Members::parse(section, "crypto_material")?;
    expect(section.text("crypto_material.format")?, CRYPTO_MATERIAL, "crypto_material.format")?;
    let items = section.list("crypto_material.items", MAX_KEYS)?;
    section.end()?;
    let mut ids = Vec::with_capacity(items.len());
    let mut keys = Vec::with_capacity(items.len());
    for item in items {
        let mut item = Members::of(item, "crypto_material.items")?;
        let id = item.text("crypto_material.items.id")?;
        let format = item.text("crypto_material.items.format")?;
        let data = item.text("crypto_material.items.data")?;
        item.end()?;
        let digest = || members::hex::<32>(&data, "crypto_material.items.data");
        match (id.as_str(), format.as_str()) {
            ("tls", SPKI_DIGEST) => keys.push(BoundValue::new(TLS, &digest()?)),
            ("tls", SPKI) => keys.push(BoundValue::new(TLS, &crypto::sha256(&spki(&data)?))),
            ("hpke", X25519) => keys.push(BoundValue::new(HPKE, &digest()?)),
            ("tls" | "hpke", other) => return Err(unknown("crypto_material.items.format", other)),
            (_, SPKI_DIGEST) => keys.push(BoundValue::new("spki-sha256", &digest()?).of(json::shorten(&id))),
            (_, SPKI) => keys.push(BoundValue::new("spki", &spki(&data)?).of(json::shorten(&id))),
            (_, X25519) => keys.push(BoundValue::new("x25519", &digest()?).of(json::shorten(&id))),
            (_, other) => not_asked.push(NotAsked {
                what: format!("key {:?} of crypto_material: {}", json::shorten(&id), json::shorten(other)),
                why: "keys of this format are not known here",
            }),
        }
        once(&mut ids, id, "crypto_material.items")?;
    }
    Ok(keys)
}

fn spki(data: &str) -> Result<Vec<u8>, BundleError> {
    let wrong = BundleError::Encoding {
        member: "crypto_material.items.data",
        expected: "a SubjectPublicKeyInfo in hexadecimal in lower case",
    };
    let plain = data.len() <= MAX_KEY && data.bytes().all(|octet| !octet.is_ascii_uppercase());
    match hex::decode(data) {
        Ok(bytes) if plain && !bytes.is_empty() => Ok(bytes),
        _ => Err(wrong),
    }
}

/// The items of device_evidence. An item of a format that is not known is refused: its device would be passed over.
fn devices(section: &[u8]) -> Result<Vec<GpuEvidence>, BundleError> {
    let mut section = Members::parse(section, "device_evidence")?;
    expect(section.text("device_evidence.format")?, DEVICE_EVIDENCE, "device_evidence.format")?;
    let items = section.list("device_evidence.items", MAX_DEVICES)?;
    section.end()?;
    let mut ids = Vec::with_capacity(items.len());
    let mut devices = Vec::with_capacity(items.len());
    for item in items {
        let mut item = Members::of(item, "device_evidence.items")?;
        once(&mut ids, item.text("device_evidence.items.id")?, "device_evidence.items")?;
        // Labels of the sender's: the certificates say what a device is.
        item.text("device_evidence.items.kind")?;
        item.text("device_evidence.items.vendor")?;
        let format = item.text("device_evidence.items.format")?;
        let evidence = item.take("device_evidence.items.evidence")?;
        item.end()?;
        match format.as_str() {
            NVIDIA_GPU => devices.push(device(evidence)?),
            NVIDIA_SWITCH => {
                let mut output = Members::of(evidence, "device_evidence.items.evidence")?;
                let list = output.list("device_evidence.items.evidence.evidences", MAX_DEVICES)?;
                for evidence in list {
                    devices.push(device(evidence)?);
                }
            }
            other => return Err(unknown("device_evidence.items.format", other)),
        }
    }
    if devices.len() > MAX_DEVICES {
        let (found, maximum) = (devices.len(), MAX_DEVICES);
        return Err(BundleError::TooMany { member: "device_evidence.items", found, maximum });
    }
    Ok(devices)
}

/// As NVIDIA's SDK writes it; beside report and certificates there are labels, which say nothing.
fn device(evidence: Value) -> Result<GpuEvidence, BundleError> {
    let mut evidence = Members::of(evidence, "device_evidence.items.evidence")?;
    let report = evidence.base64("device_evidence.items.evidence.evidence")?;
    let chain = evidence.base64("device_evidence.items.evidence.certificate")?;
    Ok(GpuEvidence::parse(&report, &chain)?)
}

fn expect(found: String, expected: &str, member: &'static str) -> Result<(), BundleError> {
    if found == expected { Ok(()) } else { Err(unknown(member, &found)) }
}

/// An id is not empty, and there once.
pub(super) fn once(ids: &mut Vec<String>, id: String, member: &'static str) -> Result<(), BundleError> {
    if id.is_empty() || ids.contains(&id) {
        return Err(BundleError::Duplicate { member, name: json::shorten(&id) });
    }
    ids.push(id);
    Ok(())
}
