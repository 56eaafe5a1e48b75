//! The messages of the key broker's protocol 0.4.0 (trustee, kbs/docs/kbs_attestation_protocol.md): a composite of the evidence of
//! a guest and of its devices, and the Attestation message around it.
//!
//! ```text
//! guest     report data = H({"additional-evidence", "nonce", "tee-pubkey"}, as RFC 8785 writes it)
//! devices   nonce       = first 32 bytes of H({"nonce", "tee-pubkey"}, as RFC 8785 writes it)
//! ```
//!
//! H is SHA-256, SHA-384 or SHA-512, as the broker chose; the message does not say which.

use serde_json::{Map, Value, json};

use super::{Coco, evidence, fitted, report_data};
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::refused::BundleDenial;
use crate::bundle::{Content, MAX_DEVICES, Opened};
use crate::checks::Finding;
use crate::crypto;
use crate::json;
use crate::nvidia::{GpuEvidence, NONCE_LEN};

/// Longer nonces are refused; a broker's have 32 bytes.
const MAX_NONCE: usize = 64;

/// Of SEV-SNP and of TDX.
const REPORT_DATA_LEN: usize = 64;

/// A hash that a broker may choose; it may choose SM3 too, which is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// What the guest and its devices bind.
#[derive(Debug, Clone)]
pub(super) struct Runtime {
    /// Of the guest, as RFC 8785 writes it.
    guest: Vec<u8>,
    /// Of the devices, likewise.
    devices: Vec<u8>,
    /// The key, likewise.
    key: Vec<u8>,
}

/// A guest's configuration.
#[derive(Debug, Clone)]
pub(super) struct InitData {
    hash: Hash,
    digest: Vec<u8>,
}

/// An Attestation message.
pub(super) fn attestation(members: Map<String, Value>) -> Result<Opened, BundleError> {
    let mut members = Members::of(Value::Object(members), "the message")?;
    let init_data = members.given("init-data").map(InitData::read).transpose()?;
    let mut runtime = members.object("runtime-data")?;
    let nonce = runtime.text("runtime-data.nonce")?;
    let key = key(runtime.object("runtime-data.tee-pubkey")?)?;
    runtime.end()?;
    let tee_evidence = members.take("tee-evidence")?;
    members.end()?;
    let Value::Object(tee_evidence) = tee_evidence else {
        return Err(BundleError::Type { member: "tee-evidence", expected: "an object" });
    };
    let (mut opened, additional) = composite(tee_evidence)?;

    let bytes = members::base64(&nonce, "runtime-data.nonce")?;
    if bytes.is_empty() || bytes.len() > MAX_NONCE {
        let (expected, found) = (NONCE_LEN, bytes.len());
        return Err(BundleError::Length { member: "runtime-data.nonce", expected, found });
    }
    let runtime = Runtime::new(&nonce, &key, &additional)?;
    let hash = runtime.hash(&report_data(&opened.evidence));
    opened.device_nonce = hash.map(|hash| runtime.device_nonce(hash));
    opened.nonce = Some(bytes);
    if let Content::Coco(content) = &mut opened.content {
        *content = Coco { runtime: Some(runtime), init_data, user_data: content.user_data };
    }
    opened.variant = match opened.variant {
        "snp" => "kbs attestation, snp",
        "tdx" => "kbs attestation, tdx",
        "az-snp-vtpm" => "kbs attestation, az-snp-vtpm",
        _ => "kbs attestation, az-tdx-vtpm",
    };
    Ok(opened)
}

/// A guest's evidence with its devices', and the text that holds those.
pub(super) fn composite(members: Map<String, Value>) -> Result<(Opened, String), BundleError> {
    let mut members = Members::of(Value::Object(members), "tee-evidence")?;
    let Value::Object(primary) = members.take("tee-evidence.primary_evidence")? else {
        return Err(BundleError::Type { member: "tee-evidence.primary_evidence", expected: "an object" });
    };
    let additional = members.text("tee-evidence.additional_evidence")?;
    members.end()?;
    let mut opened = evidence::open(primary)?;
    if !additional.is_empty() {
        opened.devices = devices(&additional)?;
    }
    Ok((opened, additional))
}

/// By the kind of device. Others than NVIDIA's are refused: such a device would be passed over.
fn devices(text: &str) -> Result<Vec<GpuEvidence>, BundleError> {
    const MEMBER: &str = "tee-evidence.additional_evidence";
    let mut members = Members::parse(text.as_bytes(), MEMBER)?;
    let nvidia = members.optional("tee-evidence.additional_evidence.nvidia");
    if let Some(other) = members.rest().first() {
        return Err(BundleError::Version { member: MEMBER, found: json::shorten(other) });
    }
    let mut nvidia = match nvidia {
        Some(nvidia) => Members::of(nvidia, "tee-evidence.additional_evidence.nvidia")?,
        None => return Ok(Vec::new()),
    };
    let list = nvidia.list("tee-evidence.additional_evidence.nvidia.device_evidence_list", MAX_DEVICES)?;
    nvidia.end()?;
    list.into_iter().map(device).collect()
}

/// Beside report and certificates there are labels, which say nothing.
fn device(device: Value) -> Result<GpuEvidence, BundleError> {
    let mut device = Members::of(device, "device_evidence_list")?;
    let report = device.base64("device_evidence_list.evidence")?;
    let chain = device.base64("device_evidence_list.certificate")?;
    Ok(GpuEvidence::parse(&report, &chain)?)
}

/// A JSON Web Key with exactly the members of its kind: what the broker hashes is what it read of it.
fn key(mut key: Members) -> Result<Value, BundleError> {
    let kty = key.text("runtime-data.tee-pubkey.kty")?;
    let names: &[&'static str] = match kty.as_str() {
        "RSA" => &["runtime-data.tee-pubkey.alg", "runtime-data.tee-pubkey.e", "runtime-data.tee-pubkey.n"],
        "EC" => &[
            "runtime-data.tee-pubkey.alg",
            "runtime-data.tee-pubkey.crv",
            "runtime-data.tee-pubkey.x",
            "runtime-data.tee-pubkey.y",
        ],
        "AKP" => &["runtime-data.tee-pubkey.alg", "runtime-data.tee-pubkey.pub"],
        other => {
            let (member, found) = ("runtime-data.tee-pubkey.kty", json::shorten(other));
            return Err(BundleError::Version { member, found });
        }
    };
    let mut object = Map::new();
    object.insert("kty".to_owned(), kty.into());
    for path in names {
        let name = path.rsplit('.').next().unwrap_or(path);
        object.insert(name.to_owned(), key.text(path)?.into());
    }
    key.end()?;
    Ok(Value::Object(object))
}

impl Runtime {
    fn new(nonce: &str, key: &Value, additional: &str) -> Result<Self, BundleError> {
        let canonical = |value: &Value| {
            serde_json_canonicalizer::to_vec(value).map_err(|_| BundleError::Encoding {
                member: "runtime-data",
                expected: "JSON that RFC 8785 can write",
            })
        };
        let guest = json!({ "tee-pubkey": key, "nonce": nonce, "additional-evidence": additional });
        Ok(Self {
            guest: canonical(&guest)?,
            devices: canonical(&json!({ "tee-pubkey": key, "nonce": nonce }))?,
            key: canonical(key)?,
        })
    }

    /// As RFC 8785 writes it.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The report data that the evidence is to bind: of the hash with which it does.
    pub(super) fn bound(&self, found: &[u8]) -> Result<(Vec<u8>, Finding), BundleDenial> {
        match self.hash(found) {
            Some(hash) => {
                let finding = Finding::Pass(format!("{} of it", hash.as_str()));
                Ok((self.expected(hash, found.len()), finding))
            }
            None => Err(BundleDenial::Digest {
                member: "the evidence's report data",
                expected: self.expected(Hash::Sha384, found.len()),
                found: found.to_vec(),
            }),
        }
    }

    /// Under which hash the evidence binds this. Any of them binds; the broker's choice is not in the message.
    fn hash(&self, found: &[u8]) -> Option<Hash> {
        let hashes = [Hash::Sha384, Hash::Sha256, Hash::Sha512];
        hashes.into_iter().find(|hash| crypto::equal(&self.expected(*hash, found.len()), found))
    }

    /// A field of 64 bytes is filled with zeros; qualifying data has no fill.
    fn expected(&self, hash: Hash, length: usize) -> Vec<u8> {
        let digest = hash.of(&self.guest);
        if length == REPORT_DATA_LEN { fitted(&digest, length) } else { digest }
    }

    fn device_nonce(&self, hash: Hash) -> [u8; NONCE_LEN] {
        let digest = hash.of(&self.devices);
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl InitData {
    /// `{"format": "toml", "body"}`; the body names the hash that it is measured with, whole.
    fn read(value: Value) -> Result<Self, BundleError> {
        let mut members = Members::of(value, "init-data")?;
        let format = members.text("init-data.format")?;
        let body = members.text("init-data.body")?;
        members.end()?;
        if format != "toml" {
            return Err(BundleError::Version { member: "init-data.format", found: json::shorten(&format) });
        }
        let wrong =
            BundleError::Encoding { member: "init-data.body", expected: "TOML that names its algorithm" };
        let document: toml::Table = toml::from_str(&body).map_err(|_| wrong.clone())?;
        let algorithm = document.get("algorithm").and_then(toml::Value::as_str).ok_or(wrong)?;
        let hash = match algorithm {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            other => {
                let (member, found) = ("init-data.body: algorithm", json::shorten(other));
                return Err(BundleError::Version { member, found });
            }
        };
        Ok(Self { hash, digest: hash.of(body.as_bytes()) })
    }

    pub(super) fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.hash.as_str()
    }
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => crypto::sha256(message).to_vec(),
            Self::Sha384 => crypto::sha384(message).to_vec(),
            Self::Sha512 => crypto::sha512(message).to_vec(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }
}
