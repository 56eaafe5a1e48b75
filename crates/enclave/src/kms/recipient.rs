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
