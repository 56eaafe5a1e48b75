//! A small sealed model with fixed keys, and the means to forge manifests with a valid signature.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io;
use std::sync::Mutex;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_seal::{
    FileEntry, Manifest, ManifestBuilder, ModelId, ModelKey, PublisherKey, PublisherSecret, Recipient,
    Sealer, WriteAt,
};
use serde_json::{Value, json};

pub(crate) const KEY: [u8; 32] = [0x42; 32];
pub(crate) const SEED: [u8; 32] = [7; 32];
pub(crate) const ID: ModelId = ModelId { uuid: [0xc5; 16], version: 17 };

pub(crate) fn quiet(_: u64) {}

/// Bytes that differ from chunk to chunk.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) fn publisher() -> PublisherSecret {
    PublisherSecret::from_seed(SEED)
}

pub(crate) fn trusted() -> Vec<PublisherKey> {
    vec![publisher().public().unwrap()]
}

pub(crate) fn recipient() -> Recipient {
    Recipient::kbs("kbs:///default/model-key/test").unwrap()
}

/// Seals one file with a salt that depends on its name.
pub(crate) fn seal_file(id: &ModelId, name: &str, plain: &[u8], threads: usize) -> (FileEntry, Vec<u8>) {
    let mut salt = [0x5a; 24];
    for (i, byte) in name.bytes().enumerate() {
        salt[i % 24] ^= byte;
    }
    let sealer = Sealer::new(&ModelKey::from_bytes(KEY), id, name, &salt).unwrap();
    let mut blob = Vec::new();
    let entry = sealer.seal(&mut &*plain, &mut blob, threads, &quiet).unwrap();
    (entry, blob)
}

/// A verified model of these files, with its blobs in the manifest's order.
pub(crate) fn model(files: &[(&str, &[u8])]) -> (Manifest, Vec<Vec<u8>>) {
    let mut sealed: Vec<_> = files.iter().map(|(name, plain)| seal_file(&ID, name, plain, 1)).collect();
    sealed.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let manifest = manifest_of(sealed.iter().map(|(entry, _)| entry.clone()));
    (manifest, sealed.into_iter().map(|(_, blob)| blob).collect())
}

pub(crate) fn envelope_of(files: impl IntoIterator<Item = FileEntry>) -> Vec<u8> {
    let key = ModelKey::from_bytes(KEY);
    let builder = ManifestBuilder::new(ID, "test model", 1_763_900_000, &key).recipient(recipient());
    files.into_iter().fold(builder, ManifestBuilder::file).sign(&publisher()).unwrap()
}

pub(crate) fn manifest_of(files: impl IntoIterator<Item = FileEntry>) -> Manifest {
    Manifest::verify(&envelope_of(files), &trusted()).unwrap()
}

/// The payload of an envelope.
pub(crate) fn payload_of(envelope: &[u8]) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()
}

/// A correct signature over any payload: what a careless or malicious publisher could make.
pub(crate) fn sign_payload(payload: &[u8]) -> Vec<u8> {
    let kind = "application/vnd.in-toto+json";
    let mut message = format!("DSSEv1 28 {kind} {} ", payload.len()).into_bytes();
    message.extend_from_slice(payload);
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let envelope = json!({
        "payload": STANDARD.encode(payload),
        "payloadType": kind,
        "signatures": [{
            "keyid": trusted()[0].fingerprint(),
            "sig": STANDARD.encode(pair.sign(&message).as_ref()),
        }],
    });
    canonical(&envelope)
}

pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap()
}

/// A destination in memory.
pub(crate) struct Memory(pub(crate) Mutex<Vec<u8>>);

impl Memory {
    pub(crate) fn new(len: u64) -> Self {
        Self(Mutex::new(vec![0; len as usize]))
    }

    pub(crate) fn into_inner(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let start = offset as usize;
        bytes.get_mut(start..start + buf.len()).ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(buf);
        Ok(())
    }
}
