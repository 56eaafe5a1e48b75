//! The wire messages of the confidential-containers Key Broker Service, protocol RCAR 0.4.0.
//!
//! Three calls: `POST /kbs/v0/auth` ([`Request`] to [`Challenge`]), `POST /kbs/v0/attest` ([`Attestation`] to
//! [`TokenResponse`]), `GET /kbs/v0/resource/<repository>/<type>/<tag>` (to a [`Jwe`](crate::jwe::Jwe)).
//! spec/release.md has the rules. Unknown members of what is hashed or decides are refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::{Endorsements, Evidence, Platform};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha384};

use crate::document::{DocumentEndorsements, DocumentError};

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
    /// The kind of TEE, by [`tee`]. A label: the evidence decides.
    pub tee: String,
    /// `{"supported-hash-algorithms": [...]}`, or an empty string.
    #[serde(rename = "extra-params")]
    pub extra_params: Value,
}

impl Request {
    /// The request of a machine of this kind that hashes with SHA-384; `None` where the protocol has no name for it.
    pub fn of(platform: Platform) -> Option<Self> {
        Some(Self {
            version: VERSION.into(),
            tee: tee(platform)?.into(),
            extra_params: serde_json::json!({ "supported-hash-algorithms": [HASH_ALGORITHM] }),
        })
    }
}

/// How the protocol names a kind of TEE. `nitro` is ours: confidential-containers has no name for it. A virtual TPM that proves
/// no memory encryption has none.
pub fn tee(platform: Platform) -> Option<&'static str> {
    match platform {
        Platform::SevSnp => Some("snp"),
        Platform::Tdx => Some("tdx"),
        Platform::AzureVtpm => Some("az-snp-vtpm"),
        Platform::AzureVtpmTdx => Some("az-tdx-vtpm"),
        Platform::Nitro => Some("nitro"),
        // `Platform` may grow: whatever is new has no name until somebody gives it one.
        _ => None,
    }
}

/// The kinds that [`tee`] has a name for.
pub const TEES: [&str; 5] = ["snp", "tdx", "az-snp-vtpm", "az-tdx-vtpm", "nitro"];

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
    /// The machine's evidence: [`PrimaryEvidence`] as JSON.
    pub primary_evidence: Value,
    /// [`AdditionalEvidence`](crate::additional::AdditionalEvidence) as text; empty when there is none.
    pub additional_evidence: String,
}

/// Evidence of any platform with everything that is needed to check it. It travels as the bytes that the hardware
/// signed (invariant 3), not as re-encodable fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrimaryEvidence {
    /// base64 of the evidence, as [`Evidence::parse`] reads it.
    pub evidence: String,
    /// As in an attestation document.
    pub endorsements: DocumentEndorsements,
}

impl PrimaryEvidence {
    /// Encodes evidence for the wire.
    pub fn new(evidence: &[u8], endorsements: DocumentEndorsements) -> Self {
        Self { evidence: B64.encode(evidence), endorsements }
    }

    /// The evidence's bytes.
    ///
    /// # Errors
    /// [`KbsError::Base64`].
    pub fn bytes(&self) -> Result<Vec<u8>, KbsError> {
        B64.decode(&self.evidence).map_err(|_| KbsError::Base64 { member: "evidence" })
    }

    /// The endorsements of this evidence. Believes nothing.
    ///
    /// # Errors
    /// [`KbsError::Endorsements`].
    pub fn endorsements(&self, evidence: &Evidence) -> Result<Endorsements, KbsError> {
        self.endorsements.of(evidence).map_err(KbsError::Endorsements)
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
    /// The endorsements cannot be read, or are of another platform than the evidence.
    #[error("the endorsements cannot be used: {0}")]
    Endorsements(#[source] DocumentError),
    /// The runtime data has no canonical form (RFC 8785).
    #[error("the runtime data cannot be written as canonical JSON")]
    NotCanonical,
}

impl KbsError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Base64 { .. } => "kbs.base64",
            Self::Endorsements(_) => "kbs.endorsements",
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
    padded_digest(&bound)
}

/// `SHA-384(JCS(value)) || 16 zero bytes`.
pub(crate) fn padded_digest(value: &Value) -> Result<[u8; 64], KbsError> {
    let canonical = serde_json_canonicalizer::to_vec(value).map_err(|_| KbsError::NotCanonical)?;
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

    fn evidence() -> PrimaryEvidence {
        PrimaryEvidence::new(b"r", DocumentEndorsements::amd(b"v", b"c"))
    }

    #[test]
    fn a_kind_has_a_name_if_it_is_listed() {
        let platforms =
            [Platform::SevSnp, Platform::Tdx, Platform::AzureVtpm, Platform::AzureVtpmTdx, Platform::Nitro];
        assert_eq!(platforms.map(tee), TEES.map(Some));
        assert_eq!(tee(Platform::GceVtpm), None);
        assert!(Request::of(Platform::GceVtpm).is_none());
    }

    #[test]
    fn evidence_that_is_no_base64_is_named() {
        let wrong = PrimaryEvidence { evidence: "?".into(), ..evidence() };
        assert_eq!(wrong.bytes().unwrap_err().code(), "kbs.base64");
        assert_eq!(evidence().bytes().unwrap(), b"r");
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
        for (platform, tee) in [
            (Platform::SevSnp, kbs_types::Tee::Snp),
            (Platform::Tdx, kbs_types::Tee::Tdx),
            (Platform::AzureVtpm, kbs_types::Tee::AzSnpVtpm),
            (Platform::AzureVtpmTdx, kbs_types::Tee::AzTdxVtpm),
        ] {
            let request = serde_json::to_string(&Request::of(platform).unwrap()).unwrap();
            let theirs: kbs_types::Request = serde_json::from_str(&request).unwrap();
            assert_eq!((theirs.version.as_str(), theirs.tee), ("0.4.0", tee));
        }

        let attestation = Attestation {
            init_data: None,
            runtime_data: runtime(),
            tee_evidence: CompositeEvidence {
                primary_evidence: serde_json::to_value(evidence()).unwrap(),
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
