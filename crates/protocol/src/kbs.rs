//! The wire messages of the confidential-containers Key Broker Service, protocol RCAR 0.4.0.
//!
//! Three calls: `POST /kbs/v0/auth` ([`Request`] to [`Challenge`]), `POST /kbs/v0/attest` ([`Attestation`] to
//! [`TokenResponse`]), `GET /kbs/v0/resource/<repository>/<type>/<tag>` (to a [`Jwe`](crate::jwe::Jwe)).
//! spec/release.md has the rules. Unknown members of what is hashed or decides are refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::{Endorsements, Revocation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha384};

/// The one protocol version that both sides speak.
pub const VERSION: &str = "0.4.0";
/// Path prefix of every call.
pub const BASE_PATH: &str = "/kbs/v0";
/// The hash that a server of ours selects for [`report_data`].
pub const HASH_ALGORITHM: &str = "sha384";
/// The session cookie's name.
pub const SESSION_COOKIE: &str = "kbs-session-id";

/// Opens a session: `POST /kbs/v0/auth`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Must be [`VERSION`].
    pub version: String,
    /// The kind of TEE, `snp` for AMD SEV-SNP.
    pub tee: String,
    /// `{"supported-hash-algorithms": [...]}`, or an empty string.
    #[serde(rename = "extra-params")]
    pub extra_params: Value,
}

impl Request {
    /// The request of an SEV-SNP guest that hashes with SHA-384.
    pub fn snp() -> Self {
        Self {
            version: VERSION.into(),
            tee: "snp".into(),
            extra_params: serde_json::json!({ "supported-hash-algorithms": [HASH_ALGORITHM] }),
        }
    }
}

/// The answer to [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// Standard base64 of 32 random bytes.
    pub nonce: String,
    /// `{"selected-hash-algorithm": "sha384"}`, or an empty string.
    #[serde(rename = "extra-params")]
    pub extra_params: Value,
}

/// Presents evidence: `POST /kbs/v0/attest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attestation {
    /// Initialisation data; this profile knows none, so it must be `null`.
    pub init_data: Option<Value>,
    /// What the evidence's report data binds.
    pub runtime_data: RuntimeData,
    /// The evidence.
    pub tee_evidence: CompositeEvidence,
}

/// The data that the evidence binds: see [`report_data`]. Nothing unbound may travel in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuntimeData {
    /// The challenge's nonce, as it was sent.
    pub nonce: String,
    /// The key to which the secret will be encrypted.
    pub tee_pubkey: TeePubKey,
}

/// The TEE's public key as a JWK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
pub enum TeePubKey {
    /// An elliptic-curve key (RFC 7518 section 6.2).
    #[serde(rename = "EC")]
    Ec {
        /// The curve, `P-256`.
        crv: String,
        /// The key-management algorithm, `ECDH-ES+A256KW`.
        alg: String,
        /// base64url x coordinate, 32 bytes.
        x: String,
        /// base64url y coordinate, 32 bytes.
        y: String,
    },
}

/// All evidence of one guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeEvidence {
    /// The CPU's evidence: [`SnpEvidence`] as JSON.
    pub primary_evidence: Value,
    /// A JSON string with the evidence of further devices; empty when there is none.
    pub additional_evidence: String,
}

/// SEV-SNP evidence with everything that is needed to check it. The report travels as the bytes that the hardware
/// signed (invariant 3), not as re-encodable fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpEvidence {
    /// base64 of the 1184-byte attestation report.
    pub attestation_report: String,
    /// base64 of the VCEK or VLEK certificate (DER).
    pub vek: String,
    /// base64 of the AMD certificate revocation list (DER).
    pub crl: String,
}

impl SnpEvidence {
    /// Encodes raw evidence and endorsements for the wire.
    pub fn encode(report: &[u8], vek_der: &[u8], crl_der: &[u8]) -> Self {
        Self { attestation_report: B64.encode(report), vek: B64.encode(vek_der), crl: B64.encode(crl_der) }
    }

    /// The report's bytes and its endorsements. Believes nothing.
    pub fn decode(&self) -> Result<(Vec<u8>, Endorsements), KbsError> {
        let part = |member, text: &str| B64.decode(text).map_err(|_| KbsError::Base64 { member });
        let report = part("attestation_report", &self.attestation_report)?;
        let vek = part("vek", &self.vek)?;
        let crl = part("crl", &self.crl)?;
        Ok((report, Endorsements::snp(vek, Revocation::Crl(crl))))
    }
}

/// The answer to [`Attestation`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// An attestation result: an EAR as a JWT.
    pub token: String,
}

/// An error answer of the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorInformation {
    /// `https://github.com/confidential-containers/kbs/errors/<Kind>`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// What happened, with our stable code in front.
    pub detail: String,
}

/// Why KBS messages could not be formed or understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KbsError {
    /// A member is not standard base64.
    #[error("the member `{member}` is not base64")]
    Base64 {
        /// The member's name.
        member: &'static str,
    },
    /// The runtime data has no canonical form (RFC 8785).
    #[error("the runtime data cannot be written as canonical JSON")]
    NotCanonical,
}

impl KbsError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Base64 { .. } => "kbs.base64",
            Self::NotCanonical => "kbs.not-canonical",
        }
    }
}

/// The 64 bytes that the evidence must carry for this session:
/// `SHA-384(JCS({"additional-evidence": …, "nonce": …, "tee-pubkey": …}))`, padded with zeros.
pub fn report_data(runtime: &RuntimeData, additional_evidence: &str) -> Result<[u8; 64], KbsError> {
    let bound = serde_json::json!({
        "additional-evidence": additional_evidence,
        "nonce": runtime.nonce,
        "tee-pubkey": runtime.tee_pubkey,
    });
    let canonical = serde_json_canonicalizer::to_vec(&bound).map_err(|_| KbsError::NotCanonical)?;
    let mut data = [0u8; 64];
    for (to, from) in data.iter_mut().zip(Sha384::digest(&canonical)) {
        *to = from;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> RuntimeData {
        let key = r#"{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"AA","y":"AQ"}"#;
        RuntimeData { nonce: "bm9uY2U=".into(), tee_pubkey: serde_json::from_str(key).unwrap() }
    }

    /// The canonical text is written by hand, so this checks the canonicalisation and not only the hash.
    #[test]
    fn report_data_is_the_padded_sha384_of_the_canonical_json() {
        let by_hand = concat!(
            r#"{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":"#,
            r#"{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"AA","y":"AQ"}}"#
        );
        let data = report_data(&runtime(), "").unwrap();
        assert_eq!(data[..48], Sha384::digest(by_hand.as_bytes())[..]);
        assert_eq!(data[48..], [0u8; 16]);
    }

    #[test]
    fn everything_bound_changes_the_report_data() {
        let good = report_data(&runtime(), "").unwrap();
        assert_ne!(good, report_data(&runtime(), "{}").unwrap());
        let mut other = runtime();
        other.nonce = "bm9uY2V=".into();
        assert_ne!(good, report_data(&other, "").unwrap());
    }

    #[test]
    fn our_messages_parse_as_the_types_of_kbs_types() {
        let request = serde_json::to_string(&Request::snp()).unwrap();
        let theirs: kbs_types::Request = serde_json::from_str(&request).unwrap();
        assert_eq!((theirs.version.as_str(), theirs.tee), ("0.4.0", kbs_types::Tee::Snp));

        let attestation = Attestation {
            init_data: None,
            runtime_data: runtime(),
            tee_evidence: CompositeEvidence {
                primary_evidence: serde_json::to_value(SnpEvidence::encode(b"r", b"v", b"c")).unwrap(),
                additional_evidence: String::new(),
            },
        };
        let text = serde_json::to_string(&attestation).unwrap();
        let theirs: kbs_types::Attestation = serde_json::from_str(&text).unwrap();
        assert_eq!(theirs.runtime_data.nonce, "bm9uY2U=");
        let back: Attestation = serde_json::from_str(&serde_json::to_string(&theirs).unwrap()).unwrap();
        assert_eq!(back.runtime_data.tee_pubkey, runtime().tee_pubkey);
    }

    #[test]
    fn unbound_members_are_refused() {
        let text = r#"{"nonce":"n","tee-pubkey":{"kty":"EC","crv":"P-256","alg":"a","x":"","y":""},"note":"unsigned"}"#;
        assert!(serde_json::from_str::<RuntimeData>(text).is_err());
        assert!(serde_json::from_str::<TeePubKey>(r#"{"kty":"RSA","alg":"RSA1_5","n":"","e":""}"#).is_err());
    }
}
