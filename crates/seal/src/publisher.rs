//! Publisher keys: Ed25519 (RFC 8032), in the text forms that other tools read and write.
//!
//! Secret: PKCS#8 version 1 in PEM (RFC 8410 section 7), what `openssl genpkey -algorithm ed25519` writes.
//! Public: SubjectPublicKeyInfo in PEM (RFC 8410 section 4), or 64 hex digits.
//! Key id: the hex form of SHA-256 over the 44-byte DER SubjectPublicKeyInfo, so that
//! `openssl pkey -pubin -outform DER | sha256sum` gives it too.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// A publisher's signing key. Wiped on drop; cannot be printed, cloned or serialised.
///
/// ```compile_fail,E0277
/// println!("{:?}", casemate_seal::PublisherSecret::from_seed([0; 32]));
/// ```
#[derive(ZeroizeOnDrop)]
pub struct PublisherSecret {
    seed: [u8; 32],
}

/// A publisher's public key: what a verifier pins.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublisherKey {
    bytes: [u8; 32],
}

/// Why a key was refused. No variant carries key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublisherError {
    /// The text is not one PEM block with the label that is expected here.
    #[error("not a PEM block `{label}`")]
    Pem {
        /// The label expected.
        label: &'static str,
    },
    /// The PEM block holds something else than an Ed25519 key in its one accepted encoding.
    #[error("the PEM block `{label}` does not hold an Ed25519 key")]
    Encoding {
        /// The label of the block.
        label: &'static str,
    },
    /// Not 64 lower-case hex digits.
    #[error("not a public key in 64 lower-case hex digits")]
    Hex,
    /// The cryptographic library refused the key.
    #[error("the cryptographic library refused the Ed25519 key")]
    Library,
}

const SECRET_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// PKCS#8 v1, algorithm 1.3.101.112, then an OCTET STRING in an OCTET STRING: the 32-byte seed follows.
const SECRET_DER_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// SubjectPublicKeyInfo, algorithm 1.3.101.112, BIT STRING without unused bits: the 32-byte key follows.
const PUBLIC_DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

// === impl PublisherSecret ===

impl PublisherSecret {
    /// The key of a 32-byte seed from a cryptographic random generator.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let secret = Self { seed };
        seed.zeroize();
        secret
    }

    /// The public half.
    ///
    /// # Errors
    /// [`PublisherError::Library`] where the library refuses the seed; it accepts any 32 bytes.
    pub fn public(&self) -> Result<PublisherKey, PublisherError> {
        let pair = self.pair()?;
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| PublisherError::Library)?;
        Ok(PublisherKey { bytes })
    }

    /// The secret key as a PEM block `PRIVATE KEY`, for a file that only its owner can read.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0u8; 48]);
        let (prefix, seed) = der.split_at_mut(SECRET_DER_PREFIX.len());
        prefix.copy_from_slice(&SECRET_DER_PREFIX);
        seed.copy_from_slice(&self.seed);
        pem_encode(SECRET_LABEL, der.as_slice())
    }

    /// Reads a PEM block `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`PublisherError::Pem`] or [`PublisherError::Encoding`].
    pub fn from_pem(text: &str) -> Result<Self, PublisherError> {
        let der = pem_decode(SECRET_LABEL, text)?;
        let seed =
            key_bytes(&der, &SECRET_DER_PREFIX).ok_or(PublisherError::Encoding { label: SECRET_LABEL })?;
        Ok(Self { seed: *seed })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], PublisherError> {
        let signature = self.pair()?.try_sign(message).map_err(|_| PublisherError::Library)?;
        signature.as_ref().try_into().map_err(|_| PublisherError::Library)
    }

    fn pair(&self) -> Result<Ed25519KeyPair, PublisherError> {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).map_err(|_| PublisherError::Library)
    }
}

// === impl PublisherKey ===

impl PublisherKey {
    /// The key with this encoding (RFC 8032 section 5.1.2).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes }
    }

    /// The 32-byte encoding.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key id: SHA-256 over the DER SubjectPublicKeyInfo, in lower-case hex.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.spki()))
    }

    /// The key in 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.bytes)
    }

    /// Reads [`PublisherKey::to_hex`]'s form.
    ///
    /// # Errors
    /// [`PublisherError::Hex`].
    pub fn from_hex(text: &str) -> Result<Self, PublisherError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| PublisherError::Hex)?;
        let key = Self { bytes };
        if key.to_hex() == text { Ok(key) } else { Err(PublisherError::Hex) }
    }

    /// The key as a PEM block `PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem_encode(PUBLIC_LABEL, &self.spki()).to_string()
    }

    /// Reads a PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`PublisherError::Pem`] or [`PublisherError::Encoding`].
    pub fn from_pem(text: &str) -> Result<Self, PublisherError> {
        let der = pem_decode(PUBLIC_LABEL, text)?;
        let bytes =
            key_bytes(&der, &PUBLIC_DER_PREFIX).ok_or(PublisherError::Encoding { label: PUBLIC_LABEL })?;
        Ok(Self { bytes: *bytes })
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }

    fn spki(&self) -> [u8; 44] {
        let mut der = [0; 44];
        let (prefix, key) = der.split_at_mut(PUBLIC_DER_PREFIX.len());
        prefix.copy_from_slice(&PUBLIC_DER_PREFIX);
        key.copy_from_slice(&self.bytes);
        der
    }
}

impl fmt::Debug for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublisherKey({})", self.to_hex())
    }
}

impl PublisherError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pem { .. } => "seal.publisher.pem",
            Self::Encoding { .. } => "seal.publisher.encoding",
            Self::Hex => "seal.publisher.hex",
            Self::Library => "seal.publisher.library",
        }
    }
}

// === PEM (RFC 7468, strict form): both keys fit on one line of base64 ===

fn pem_encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(256));
    for part in ["-----BEGIN ", label, "-----\n", &body, "\n-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

/// The bytes of a text that is one PEM block. Line ends may be CRLF; blank lines around the block are allowed.
fn pem_decode(label: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, PublisherError> {
    let error = PublisherError::Pem { label };
    let body = text
        .trim_ascii()
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.strip_prefix(label))
        .and_then(|rest| rest.strip_prefix("-----"))
        .and_then(|rest| rest.strip_suffix("-----"))
        .and_then(|rest| rest.strip_suffix(label))
        .and_then(|rest| rest.strip_suffix("-----END "))
        .ok_or(error)?;
    let body = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n')).ok_or(error)?;
    let body = body.strip_suffix("\r\n").or_else(|| body.strip_suffix('\n')).ok_or(error)?;
    Ok(Zeroizing::new(STANDARD.decode(body).map_err(|_| error)?))
}

/// The 32 bytes after `prefix`, where `der` is exactly these.
fn key_bytes<'a>(der: &'a [u8], prefix: &[u8]) -> Option<&'a [u8; 32]> {
    der.strip_prefix(prefix)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 section 10.3: the example key, and the public key of section 10.1.
    const RFC_SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn rfc_8410_keys() {
        let secret = PublisherSecret::from_pem(RFC_SECRET).unwrap();
        let public = PublisherKey::from_pem(RFC_PUBLIC).unwrap();
        assert_eq!(secret.public().unwrap(), public);
        assert_eq!(secret.to_pem().as_str(), RFC_SECRET);
        assert_eq!(public.to_pem(), RFC_PUBLIC);
        assert_eq!(PublisherKey::from_hex(&public.to_hex()), Ok(public));
        assert_eq!(PublisherKey::from_pem(&RFC_PUBLIC.replace('\n', "\r\n")), Ok(public));
        let signature = secret.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        // `openssl pkey -pubin -outform DER | sha256sum` over RFC_PUBLIC.
        assert_eq!(public.fingerprint(), FINGERPRINT);
    }

    const FINGERPRINT: &str = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f";

    #[test]
    fn secret_text_mistakes() {
        let v2 = "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\
                  oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        let body = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
        for (text, code) in [
            (String::new(), "seal.publisher.pem"),
            (body.to_owned(), "seal.publisher.pem"),
            (RFC_PUBLIC.to_owned(), "seal.publisher.pem"),
            (format!("{RFC_SECRET}{RFC_SECRET}"), "seal.publisher.pem"),
            (RFC_SECRET.replace("END PRIVATE", "END PUBLIC"), "seal.publisher.pem"),
            (RFC_SECRET.replace("MC4C", "MC*C"), "seal.publisher.pem"),
            (RFC_SECRET.replace("PRIVATE", "ENCRYPTED PRIVATE"), "seal.publisher.pem"),
            (RFC_SECRET.replace(body, v2), "seal.publisher.encoding"),
            (RFC_SECRET.replace("K2Vw", "K2Vu"), "seal.publisher.encoding"),
            (RFC_SECRET.replace("VhC", "VhCAAAA"), "seal.publisher.encoding"),
            (RFC_SECRET.replace("VhC\n", "\n"), "seal.publisher.pem"),
        ] {
            assert_eq!(PublisherSecret::from_pem(&text).err().map(|e| e.code()), Some(code), "{text}");
        }
    }

    #[test]
    fn public_text_mistakes() {
        let hex = PublisherKey::from_pem(RFC_PUBLIC).unwrap().to_hex();
        for text in ["", &hex[1..], &hex.to_uppercase(), &format!("{hex}00"), &format!(" {}", &hex[1..])] {
            assert_eq!(PublisherKey::from_hex(text), Err(PublisherError::Hex), "{text}");
        }
        assert_eq!(PublisherKey::from_pem(RFC_SECRET).unwrap_err().code(), "seal.publisher.pem");
        let x25519 = RFC_PUBLIC.replace("K2Vw", "K2Vu");
        assert_eq!(PublisherKey::from_pem(&x25519).unwrap_err().code(), "seal.publisher.encoding");
    }
}
