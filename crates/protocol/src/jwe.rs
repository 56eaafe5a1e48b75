//! JSON Web Encryption of a released key to the TEE's key: `ECDH-ES+A256KW` on P-256 with `A256GCM`.
//!
//! RFC 7516 (flattened JSON form), RFC 7518 sections 4.6 (ECDH-ES, Concat KDF), 4.4 (AES key wrap) and 5.3 (AES-GCM).
//! The protected header has exactly the members `alg`, `enc`, `epk{crv,kty,x,y}` in that order without spaces, because
//! existing confidential-containers clients re-serialise what they parsed before using it as additional data
//! (spec/release.md). We authenticate the received string itself.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64URL;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::kbs::TeePubKey;

/// The key-management algorithm that we speak.
pub const ALG: &str = "ECDH-ES+A256KW";
/// The content encryption that we speak.
pub const ENC: &str = "A256GCM";

/// A JWE in the flattened JSON form, without the member `aad`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwe {
    /// base64url of the protected header, authenticated as it arrived.
    pub protected: String,
    /// base64url of the 40-byte wrapped content-encryption key.
    pub encrypted_key: String,
    /// base64url of the 12-byte initialisation vector.
    pub iv: String,
    /// base64url of the ciphertext.
    pub ciphertext: String,
    /// base64url of the 16-byte authentication tag.
    pub tag: String,
}

/// The random bytes that one encryption uses up. They must come from a cryptographic generator and be used once.
pub struct JweRandomness {
    /// Scalar of the ephemeral P-256 key; rejected (astronomically rarely) if it is not in `1..n`.
    pub ephemeral: Zeroizing<[u8; 32]>,
    /// The content-encryption key.
    pub cek: Zeroizing<[u8; 32]>,
    /// The initialisation vector of AES-GCM.
    pub iv: [u8; 12],
}

/// Why a JWE could not be made or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// The recipient's key is not a point on P-256 or names another algorithm.
    #[error("the recipient key is not an `ECDH-ES+A256KW` key on P-256")]
    RecipientKey,
    /// The random scalar was zero or too large.
    #[error("the random bytes are not a P-256 scalar")]
    Randomness,
    /// A member is not unpadded base64url or has the wrong length.
    #[error("the JWE member `{member}` is malformed")]
    Member {
        /// The member's name.
        member: &'static str,
    },
    /// The protected header is not the one form that we accept.
    #[error("the JWE protected header is not {{alg: ECDH-ES+A256KW, enc: A256GCM, epk: P-256}}")]
    Header,
    /// The wrapped key or the ciphertext did not authenticate under this key.
    #[error("the JWE does not open under this key")]
    NotAuthentic,
}

impl JweError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RecipientKey => "jwe.recipient-key",
            Self::Randomness => "jwe.randomness",
            Self::Member { .. } => "jwe.member",
            Self::Header => "jwe.header",
            Self::NotAuthentic => "jwe.not-authentic",
        }
    }
}

/// The TEE's private key, made inside and used for one release.
pub struct TeePrivateKey(SecretKey);

impl TeePrivateKey {
    /// A key from 32 random bytes. Fails if they are not a scalar in `1..n` (draw again).
    pub fn from_random(bytes: &Zeroizing<[u8; 32]>) -> Result<Self, JweError> {
        SecretKey::from_slice(bytes.as_slice()).map(Self).map_err(|_| JweError::Randomness)
    }

    /// The public half, as it goes into the evidence.
    pub fn public(&self) -> TeePubKey {
        let (x, y) = coordinates(&self.0.public_key());
        TeePubKey::Ec { crv: "P-256".into(), alg: ALG.into(), x, y }
    }

    /// Opens a JWE that was made for this key. Consumes the key: one release, one key (H9).
    pub fn open(self, jwe: &Jwe) -> Result<Zeroizing<Vec<u8>>, JweError> {
        let header = decode("protected", &jwe.protected)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| JweError::Header)?;
        if header.alg != ALG || header.enc != ENC || header.epk.kty != "EC" || header.epk.crv != "P-256" {
            return Err(JweError::Header);
        }
        let epk = public_key(&header.epk.x, &header.epk.y).ok_or(JweError::Header)?;
        let kek = key_encryption_key(&self.0, &epk);

        let wrapped = decode("encrypted_key", &jwe.encrypted_key)?;
        if wrapped.len() != WRAPPED_CEK_LEN {
            return Err(JweError::Member { member: "encrypted_key" });
        }
        let mut cek = Zeroizing::new([0u8; 32]);
        let kw = aes_kw::KwAes256::new_from_slice(kek.as_slice()).map_err(|_| JweError::NotAuthentic)?;
        kw.unwrap_key(&wrapped, cek.as_mut_slice()).map_err(|_| JweError::NotAuthentic)?;

        let iv = decode("iv", &jwe.iv)?;
        let iv: [u8; 12] = iv.as_slice().try_into().map_err(|_| JweError::Member { member: "iv" })?;
        let tag = decode("tag", &jwe.tag)?;
        if tag.len() != TAG_LEN {
            return Err(JweError::Member { member: "tag" });
        }
        let mut sealed = decode("ciphertext", &jwe.ciphertext)?;
        sealed.extend_from_slice(&tag);
        let gcm = Aes256Gcm::new_from_slice(cek.as_slice()).map_err(|_| JweError::NotAuthentic)?;
        let payload = Payload { msg: &sealed, aad: jwe.protected.as_bytes() };
        gcm.decrypt(&Nonce::from(iv), payload).map(Zeroizing::new).map_err(|_| JweError::NotAuthentic)
    }
}

/// Encrypts `secret` so that only the holder of `recipient`'s private half reads it. Consumes the random bytes.
pub fn encrypt_to(recipient: &TeePubKey, secret: &[u8], random: JweRandomness) -> Result<Jwe, JweError> {
    let TeePubKey::Ec { crv, alg, x, y } = recipient;
    if crv != "P-256" || alg != ALG {
        return Err(JweError::RecipientKey);
    }
    let recipient = public_key(x, y).ok_or(JweError::RecipientKey)?;
    let ephemeral = SecretKey::from_slice(random.ephemeral.as_slice()).map_err(|_| JweError::Randomness)?;
    let kek = key_encryption_key(&ephemeral, &recipient);

    let mut wrapped = [0u8; WRAPPED_CEK_LEN];
    let kw = aes_kw::KwAes256::new_from_slice(kek.as_slice()).map_err(|_| JweError::NotAuthentic)?;
    kw.wrap_key(random.cek.as_slice(), &mut wrapped).map_err(|_| JweError::NotAuthentic)?;

    let (x, y) = coordinates(&ephemeral.public_key());
    let header =
        Header { alg: ALG.into(), enc: ENC.into(), epk: Epk { crv: "P-256".into(), kty: "EC".into(), x, y } };
    let header = serde_json::to_vec(&header).map_err(|_| JweError::Header)?;
    let protected = B64URL.encode(header);

    let gcm = Aes256Gcm::new_from_slice(random.cek.as_slice()).map_err(|_| JweError::NotAuthentic)?;
    let payload = Payload { msg: secret, aad: protected.as_bytes() };
    let sealed = gcm.encrypt(&Nonce::from(random.iv), payload).map_err(|_| JweError::NotAuthentic)?;
    let (ciphertext, tag) =
        sealed.split_at_checked(sealed.len().saturating_sub(TAG_LEN)).ok_or(JweError::NotAuthentic)?;
    Ok(Jwe {
        protected,
        encrypted_key: B64URL.encode(wrapped),
        iv: B64URL.encode(random.iv),
        ciphertext: B64URL.encode(ciphertext),
        tag: B64URL.encode(tag),
    })
}

// Member order is wire format: see the module's documentation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    epk: Epk,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Epk {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// AES key wrap of 32 bytes adds 8 (RFC 3394).
const WRAPPED_CEK_LEN: usize = 40;
const TAG_LEN: usize = 16;

fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, JweError> {
    B64URL.decode(text).map_err(|_| JweError::Member { member })
}

/// Affine coordinates as unpadded base64url, 32 bytes each (RFC 7518 section 6.2.1).
fn coordinates(key: &PublicKey) -> (String, String) {
    let point = key.as_affine().to_sec1_point(false);
    let text = |c: Option<&_>| c.map(|c: &p256::FieldBytes| B64URL.encode(c)).unwrap_or_default();
    (text(point.x()), text(point.y()))
}

fn public_key(x: &str, y: &str) -> Option<PublicKey> {
    let (x, y) = (B64URL.decode(x).ok()?, B64URL.decode(y).ok()?);
    if x.len() != 32 || y.len() != 32 {
        return None;
    }
    let mut sec1 = Vec::with_capacity(65);
    sec1.push(0x04);
    sec1.extend_from_slice(&x);
    sec1.extend_from_slice(&y);
    // Checks that the point is on the curve and not the identity.
    PublicKey::from_sec1_bytes(&sec1).ok()
}

/// Concat KDF (NIST SP 800-56A section 5.8.1, RFC 7518 section 4.6.2) with SHA-256, one round, empty party information.
fn key_encryption_key(secret: &SecretKey, public: &PublicKey) -> Zeroizing<[u8; 32]> {
    let shared = secret.diffie_hellman(public);
    let mut hash = Sha256::new();
    hash.update(1u32.to_be_bytes());
    hash.update(shared.raw_secret_bytes());
    hash.update((ALG.len() as u32).to_be_bytes());
    hash.update(ALG.as_bytes());
    hash.update(0u32.to_be_bytes());
    hash.update(0u32.to_be_bytes());
    hash.update(256u32.to_be_bytes());
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u8) -> JweRandomness {
        JweRandomness {
            ephemeral: Zeroizing::new([seed; 32]),
            cek: Zeroizing::new([seed.wrapping_add(1); 32]),
            iv: [seed.wrapping_add(2); 12],
        }
    }

    fn key(seed: u8) -> TeePrivateKey {
        TeePrivateKey::from_random(&Zeroizing::new([seed; 32])).unwrap()
    }

    #[test]
    fn opens_under_the_right_key_only() {
        let jwe = encrypt_to(&key(7).public(), b"thirty-two bytes of key material", random(9)).unwrap();
        assert_eq!(key(7).open(&jwe).unwrap().as_slice(), b"thirty-two bytes of key material");
        assert_eq!(key(8).open(&jwe).unwrap_err(), JweError::NotAuthentic);
    }

    #[test]
    fn the_header_has_the_one_form_that_clients_reproduce() {
        let jwe = encrypt_to(&key(7).public(), b"x", random(9)).unwrap();
        let header = String::from_utf8(B64URL.decode(&jwe.protected).unwrap()).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&header).unwrap();
        let expected = format!(
            r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{{"crv":"P-256","kty":"EC","x":{},"y":{}}}}}"#,
            parsed["epk"]["x"], parsed["epk"]["y"]
        );
        assert_eq!(header, expected);
    }

    /// A Key Broker client written by others parses the response, rebuilds the header and gets the same bytes.
    #[test]
    fn kbs_types_rebuilds_the_same_additional_data() {
        let jwe = encrypt_to(&key(7).public(), b"x", random(9)).unwrap();
        let json = serde_json::to_string(&jwe).unwrap();
        let theirs: kbs_types::Response = serde_json::from_str(&json).unwrap();
        assert_eq!(theirs.protected.generate_aad().unwrap(), jwe.protected.as_bytes());
    }

    #[test]
    fn one_mistake_each_is_refused() {
        let good = encrypt_to(&key(7).public(), b"secret", random(9)).unwrap();
        let flip = |text: &str| {
            let mut bytes = B64URL.decode(text).unwrap();
            bytes[0] ^= 1;
            B64URL.encode(bytes)
        };
        let cases: [(Jwe, &str); 8] = [
            (Jwe { ciphertext: flip(&good.ciphertext), ..good.clone() }, "jwe.not-authentic"),
            (Jwe { tag: flip(&good.tag), ..good.clone() }, "jwe.not-authentic"),
            (Jwe { iv: flip(&good.iv), ..good.clone() }, "jwe.not-authentic"),
            (Jwe { encrypted_key: flip(&good.encrypted_key), ..good.clone() }, "jwe.not-authentic"),
            (Jwe { protected: flip(&good.protected), ..good.clone() }, "jwe.header"),
            (Jwe { iv: "AA".into(), ..good.clone() }, "jwe.member"),
            (Jwe { tag: "AA".into(), ..good.clone() }, "jwe.member"),
            (Jwe { encrypted_key: "====".into(), ..good.clone() }, "jwe.member"),
        ];
        for (jwe, code) in cases {
            assert_eq!(key(7).open(&jwe).unwrap_err().code(), code);
        }
    }

    #[test]
    fn a_point_off_the_curve_is_not_a_recipient() {
        let zero = B64URL.encode([0u8; 32]);
        let recipient = TeePubKey::Ec { crv: "P-256".into(), alg: ALG.into(), x: zero.clone(), y: zero };
        assert_eq!(encrypt_to(&recipient, b"x", random(9)).unwrap_err(), JweError::RecipientKey);
        let TeePubKey::Ec { x, y, .. } = key(7).public();
        let other = TeePubKey::Ec { crv: "P-256".into(), alg: "RSA1_5".into(), x, y };
        assert_eq!(encrypt_to(&other, b"x", random(9)).unwrap_err(), JweError::RecipientKey);
    }
}
