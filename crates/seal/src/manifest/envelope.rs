//! The DSSE envelope: `{"payload":<base64>,"payloadType":…,"signatures":[{"keyid":…,"sig":<base64>},…]}`.
//!
//! A signature covers PAE = `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, so the base64 and the
//! JSON around the payload are not part of what is trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{MAX_ENVELOPE_LEN, MAX_SIGNATURES, ManifestError, PAYLOAD_TYPE};
use crate::json::{self, JsonError, Object};
use crate::publisher::{PublisherKey, PublisherSecret};

/// A parsed envelope; believed by nobody.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) payload: Vec<u8>,
    /// In ascending order of key ids.
    signatures: Vec<Signature>,
}

#[derive(Debug)]
struct Signature {
    keyid: String,
    sig: [u8; 64],
}

impl Envelope {
    /// Signs `payload` with every key. Two equal keys give one signature.
    pub(super) fn sign(payload: Vec<u8>, keys: &[&PublisherSecret]) -> Result<Self, ManifestError> {
        let message = pae(&payload);
        let mut signatures = Vec::with_capacity(keys.len());
        for key in keys {
            let signing = |problem| ManifestError::Signing { problem };
            let keyid = key.public().map_err(signing)?.fingerprint();
            signatures.push(Signature { keyid, sig: key.sign(&message).map_err(signing)? });
        }
        signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        signatures.dedup_by(|a, b| a.keyid == b.keyid);
        Ok(Self { payload, signatures })
    }

    /// Parses the canonical form, and nothing else (SEAL-14 to SEAL-16).
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_ENVELOPE_LEN {
            return Err(ManifestError::Oversized { len: bytes.len() });
        }
        let error = |error: JsonError| ManifestError::json("envelope", error);
        let mut object = Object::new(json::parse(bytes).map_err(error)?, "envelope").map_err(error)?;
        let payload_type = object.string("payloadType").map_err(error)?;
        let payload = object.string("payload").map_err(error)?;
        let signatures = object.array("signatures").map_err(error)?;
        object.end().map_err(error)?;

        if payload_type != PAYLOAD_TYPE {
            return Err(ManifestError::PayloadType { found: json::shorten(&payload_type) });
        }
        if signatures.is_empty() {
            return Err(ManifestError::Unsigned);
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(ManifestError::TooManySignatures { count: signatures.len() });
        }
        let payload = STANDARD.decode(payload).map_err(|_| ManifestError::Base64 { field: "payload" })?;
        let mut parsed: Vec<Signature> = Vec::with_capacity(signatures.len());
        for (index, signature) in signatures.into_iter().enumerate() {
            let mut object = Object::new(signature, "signatures").map_err(error)?;
            let keyid = object.string("keyid").map_err(error)?;
            let sig = object.string("sig").map_err(error)?;
            object.end().map_err(error)?;
            let mut id = [0; 32];
            if hex::decode_to_slice(&keyid, &mut id).is_err() || hex::encode(id) != keyid {
                return Err(ManifestError::Hex { field: "keyid" });
            }
            if parsed.last().is_some_and(|before| before.keyid >= keyid) {
                return Err(ManifestError::SignatureOrder { index });
            }
            let sig = STANDARD.decode(sig).ok().and_then(|sig| sig.try_into().ok());
            parsed.push(Signature { keyid, sig: sig.ok_or(ManifestError::Base64 { field: "sig" })? });
        }
        let envelope = Self { payload, signatures: parsed };
        if envelope.to_json()? != bytes {
            return Err(ManifestError::NotCanonical { document: "envelope" });
        }
        Ok(envelope)
    }

    /// The trusted keys whose signatures verify: at least one (SEAL-17, SEAL-18).
    pub(super) fn signers(&self, trusted: &[PublisherKey]) -> Result<Vec<PublisherKey>, ManifestError> {
        if trusted.is_empty() {
            return Err(ManifestError::NoTrustedPublisher);
        }
        let message = pae(&self.payload);
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let Some(key) = trusted.iter().find(|key| key.fingerprint() == signature.keyid) else { continue };
            if !key.verifies(&message, &signature.sig) {
                return Err(ManifestError::BadSignature { keyid: signature.keyid.clone() });
            }
            signers.push(*key);
        }
        if signers.is_empty() {
            let keyids = self.signatures.iter().map(|signature| signature.keyid.clone()).collect();
            return Err(ManifestError::UnknownPublisher { keyids });
        }
        Ok(signers)
    }

    /// The canonical form.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .map(|signature| json!({ "keyid": signature.keyid, "sig": STANDARD.encode(signature.sig) }))
            .collect();
        let value = json!({
            "payload": STANDARD.encode(&self.payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": signatures,
        });
        json::canonical(&value).ok_or(ManifestError::NotCanonical { document: "envelope" })
    }
}

/// DSSE pre-authentication encoding.
fn pae(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}
