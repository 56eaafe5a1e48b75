//! The key pair that one answer of KMS's is encrypted to, and what opens it (KMS-03, KMS-10).
//!
//! RSA is AWS-LC's, in C and blinded. The crate `rsa`, whose private operations leak their timing (RUSTSEC-2023-0071), is in the tree for
//! signatures of others only.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use casemate_seal::ModelKey;
use zeroize::Zeroizing;

use super::KmsError;
use super::envelope::{Envelope, KEY_BYTES};

/// A key pair for one answer. It is used up by it.
pub(super) struct KeyPair {
    private: OaepPrivateDecryptingKey,
    public: Vec<u8>,
}

impl KeyPair {
    /// A new one, of RSA-2048: it lives for one answer, and lies below what the enclave runs in.
    pub(super) fn generate() -> Result<Self, KmsError> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| KmsError::KeyPair)?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(|_| KmsError::KeyPair)?;
        let public = public.as_ref().to_vec();
        Ok(Self { private: OaepPrivateDecryptingKey::new(private).map_err(|_| KmsError::KeyPair)?, public })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The model key in an envelope, which `commitment` names. Once the envelope's form and lengths are right, which everybody sees, there
    /// are two ends only (KMS-10): CBC authenticates nothing, and an answer that tells a wrong padding from a wrong key tells the
    /// key to whoever asks often enough, for each start of a server has KMS encrypt it anew.
    pub(super) fn open(self, envelope: &[u8], commitment: &[u8; 32]) -> Result<ModelKey, KmsError> {
        let Envelope { key, iv, content } = Envelope::parse(envelope)?;
        if content.len() != CONTENT {
            return Err(KmsError::KeyLength { found: content.len(), expected: CONTENT });
        }
        let mut room = Zeroizing::new([0; KEY_BYTES]);
        let opened = self.private.decrypt(&OAEP_SHA256_MGF1SHA256, &key, room.as_mut_slice(), None);
        let content_key = opened.map_err(|_| KmsError::NotTheKey)?;
        let content_key = UnboundCipherKey::new(&AES_256, content_key).map_err(|_| KmsError::NotTheKey)?;
        let chain = DecryptingKey::cbc(content_key).map_err(|_| KmsError::NotTheKey)?;
        let mut plain = Zeroizing::new(content);
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        chain.decrypt(&mut plain, context).map_err(|_| KmsError::NotTheKey)?;
        let mut found = Zeroizing::new([0; 32]);
        let (secret, padding) = plain.split_at(32);
        found.copy_from_slice(secret);
        let key = ModelKey::from_bytes(*found);
        // Both are looked at, whatever the first says.
        let good = verify_slices_are_equal(padding, &PADDING).is_ok() & key.matches(commitment);
        if good { Ok(key) } else { Err(KmsError::NotTheKey) }
    }
}

/// PKCS #7 behind two whole blocks: a block of sixteens.
const PADDING: [u8; 16] = [16; 16];
/// 32 octets and the padding.
const CONTENT: usize = 48;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// A key and two envelopes for it, made by OpenSSL 3.0.19 (`cms -encrypt -aes-256-cbc -keyid`, OAEP with SHA-256), the second with
    /// `-stream`: as the service writes them. The secret is the octets 0x40 to 0x5f.
    static OPENSSL: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
        let parts = include_str!("of_openssl.hex").split('#').skip(1);
        let octets = |part: &str| hex::decode(part.lines().skip(1).collect::<String>()).unwrap();
        parts.map(octets).collect::<Vec<_>>().try_into().unwrap()
    });

    fn secret() -> ModelKey {
        ModelKey::from_bytes(std::array::from_fn(|index| 0x40 + index as u8))
    }

    fn pair() -> KeyPair {
        let private = PrivateDecryptingKey::from_pkcs8(&OPENSSL[0]).unwrap();
        KeyPair { private: OaepPrivateDecryptingKey::new(private).unwrap(), public: Vec::new() }
    }

    fn code(envelope: &[u8], commitment: &[u8; 32]) -> &'static str {
        pair().open(envelope, commitment).err().map_or("none", |error| error.code())
    }

    #[test]
    fn what_openssl_encrypts_is_opened() {
        let commitment = secret().commitment();
        for envelope in &OPENSSL[1..] {
            let key = pair().open(envelope, &commitment).map_err(|error| error.code()).unwrap();
            assert_eq!(key.expose(), secret().expose());
            // Of another model.
            assert_eq!(code(envelope, &ModelKey::from_bytes([7; 32]).commitment()), "kms.not-the-key");
        }
        let stranger = KeyPair::generate().unwrap().open(&OPENSSL[1], &commitment);
        assert_eq!(stranger.err().map(|error| error.code()), Some("kms.not-the-key"));
    }

    /// KMS-10: there is no answer to guesses. Each changed bit of what is encrypted, and each octet that an attack on the padding
    /// would try, ends in the one way; and a content of another length in another, which whoever made it knows before.
    #[test]
    fn whatever_is_changed_of_what_is_encrypted_has_one_answer() {
        let commitment = secret().commitment();
        let der = &OPENSSL[1];
        let position = |part: &[u8]| der.windows(part.len()).position(|window| window == part).unwrap();
        let Envelope { key, iv, content } = Envelope::parse(der).unwrap();
        let (iv_at, content_at, key_at) = (position(&iv), position(&content), position(&key));
        let mut changes = 0;
        for at in (iv_at..iv_at + 16).chain(content_at..content_at + CONTENT).chain([key_at, key_at + 255]) {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(code(&changed, &commitment), "kms.not-the-key", "byte {at}, bit {bit}");
                changes += 1;
            }
        }
        assert_eq!(changes, (16 + CONTENT + 2) * 8);
        // Every value of the last octet in front of the padding's block, and of the vector's.
        for at in [iv_at + 15, content_at + 31] {
            for value in 1..=255 {
                let mut changed = der.clone();
                changed[at] ^= value;
                assert_eq!(code(&changed, &commitment), "kms.not-the-key");
            }
        }
        // The blocks in any other order: as if the padding were that of another text.
        for order in [[1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 0, 2], [0, 1, 1]] {
            let mut changed = der.clone();
            for (place, block) in order.into_iter().enumerate() {
                let from = content[block * 16..block * 16 + 16].to_vec();
                changed[content_at + place * 16..content_at + place * 16 + 16].copy_from_slice(&from);
            }
            assert_eq!(code(&changed, &commitment), "kms.not-the-key", "{order:?}");
        }
    }

    #[test]
    fn a_content_of_another_length_is_refused_before_it_is_opened() {
        let commitment = secret().commitment();
        // The content is the last value, in one part: its length and those around it are changed.
        let der = &OPENSSL[1];
        let content = der.len() - CONTENT - 2;
        assert_eq!(der[content..content + 2], [0x80, 48]);
        for length in [0_u8, 16, 32] {
            let mut shorter = der[..content].to_vec();
            shorter.extend([0x80, length]);
            shorter.extend(&der[content + 2..content + 2 + usize::from(length)]);
            let less = CONTENT - usize::from(length);
            // ContentInfo, [0] and EnvelopedData have two octets of length each, EncryptedContentInfo has one.
            for at in [2, 17, 21] {
                let whole = usize::from(u16::from_be_bytes([shorter[at], shorter[at + 1]])) - less;
                shorter[at..at + 2].copy_from_slice(&(whole as u16).to_be_bytes());
            }
            let info = content - 44 + 1;
            assert_eq!(shorter[info - 1..info + 1], [0x30, 92]);
            shorter[info] -= less as u8;
            assert_eq!(code(&shorter, &commitment), "kms.key-length", "{length}");
        }
    }

    #[test]
    fn each_pair_is_another_and_of_rsa_2048() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        assert!(one.public() != other.public() && one.public().len() == 294);
    }
}
