//! Attestation results: an EAR as a JWT (draft-ietf-rats-ear, RFC 7519), signed with ES256. Draft 04 renames the
//! claims; these are the names that deployed readers know (spec/release.md section 6).
//!
//! The key is made when the broker starts and never leaves the process. A restarted broker has another key, and its
//! clients attest again. Others verify a token with the key set that they fetched from this broker, never with the key
//! in the token's own header.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::{digest, signature::ECDSA_P256_SHA256_FIXED_SIGNING as ES256};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD as B64, BASE64_URL_SAFE_NO_PAD as B64URL};
use casemate_attest::UnixTime;
use casemate_protocol::additional::AttestedComposite;
use casemate_protocol::kbs::RuntimeData;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::claims::ClaimSet;
use crate::session::SESSION_SECONDS;

/// The profile of our tokens (`eat_profile`, RFC 9711 section 6).
pub const EAT_PROFILE: &str = "tag:casemate.dev,2026:broker-ear/1";

/// Signs attestation results.
pub(crate) struct TokenSigner {
    key: EncodingKey,
    jwk: Jwk,
    issuer: String,
}

/// A key could not be made or a token not be signed: a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token-signing key cannot be used")]
pub struct TokenError;

impl TokenError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        "broker.token"
    }
}

/// The nonce's bytes as base64url, as EAT wants them in JSON; RCAR has them in standard base64.
fn url_nonce(nonce: &str) -> String {
    B64.decode(nonce).map_or_else(|_| nonce.to_owned(), |bytes| B64URL.encode(bytes))
}

impl TokenSigner {
    /// Makes a key.
    pub(crate) fn new(issuer: &str) -> Result<Self, TokenError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| TokenError)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ES256, pkcs8.as_ref()).map_err(|_| TokenError)?;
        // Uncompressed point: 0x04 || x || y.
        let point: &[u8; 65] = pair.public_key().as_ref().try_into().map_err(|_| TokenError)?;
        let (x, y) = point.split_at(33);
        let (x, y) = (B64URL.encode(x.get(1..).unwrap_or_default()), B64URL.encode(y));
        // RFC 7638: the required members, in lexicographic order.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = B64URL.encode(digest::digest(&digest::SHA256, thumbprint.as_bytes()));
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig" });
        let jwk = serde_json::from_value(jwk).map_err(|_| TokenError)?;
        Ok(Self { key: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk, issuer: issuer.to_owned() })
    }

    /// The public key set (RFC 7517 section 5).
    pub(crate) fn key_set(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// An attestation result about a machine, valid for five minutes from `now`.
    pub(crate) fn issue(
        &self,
        machine: &AttestedComposite,
        runtime: &RuntimeData,
        now: UnixTime,
        token_id: [u8; 16],
    ) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid.clone_from(&self.jwk.common.key_id);
        header.jwk = Some(self.jwk.clone());
        let claims = self.claims(machine, runtime, now, token_id);
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| TokenError)
    }

    fn claims(
        &self,
        machine: &AttestedComposite,
        runtime: &RuntimeData,
        now: UnixTime,
        token_id: [u8; 16],
    ) -> Value {
        let mut evidence = ClaimSet::of(machine).into_json();
        if let Value::Object(members) = &mut evidence {
            members.insert(
                "runtime_data_claims".into(),
                json!({ "nonce": runtime.nonce, "tee-pubkey": runtime.tee_pubkey }),
            );
        }
        // A simulator's hardware is recognised and not genuine: never affirming, whoever reads this token.
        let (status, hardware) = if machine.simulated() { ("warning", 32) } else { ("affirming", 2) };
        json!({
            "iss": self.issuer,
            "iat": now.0,
            "nbf": now.0,
            "exp": now.0.saturating_add(SESSION_SECONDS),
            "jti": hex::encode(token_id),
            "eat_profile": EAT_PROFILE,
            "eat_nonce": url_nonce(&runtime.nonce),
            "ear.verifier-id": {
                "developer": "https://casemate.dev",
                "build": concat!("casemate-broker ", env!("CARGO_PKG_VERSION")),
            },
            "cnf": { "jwk": runtime.tee_pubkey },
            "casemate": { "simulated": machine.simulated() },
            "submods": {
                "cpu0": {
                    "ear.status": status,
                    // What was appraised: which chip, that it is genuine, how the guest is configured. Nothing about
                    // the workload: that is each key's own policy, so `executables` makes no claim.
                    "ear.trustworthiness-vector": {
                        "instance-identity": 2,
                        "configuration": 2,
                        "executables": 0,
                        "file-system": 0,
                        "hardware": hardware,
                        "runtime-opaque": 0,
                        "storage-opaque": 0,
                        "sourced-data": 0,
                    },
                    "ear.veraison.annotated-evidence": evidence,
                },
            },
        })
    }
}
