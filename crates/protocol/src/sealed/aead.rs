//! The keys of an answer, and its chunks (draft-ietf-ohai-chunked-ohttp-08 §6.2).

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::SealedError;
use super::keys::Aead;

/// Seals or opens the chunks of one answer, each with the next nonce.
pub(super) struct Chunks {
    cipher: Cipher,
    nonce: [u8; 12],
    number: u64,
}

enum Cipher {
    Aes256(Box<Aes256Gcm>),
    Aes128(Box<Aes128Gcm>),
}

/// Bytes of the answer's nonce and of its secret: max(Nn, Nk).
pub(super) fn entropy(aead: Aead) -> usize {
    match aead {
        Aead::Aes256Gcm => 32,
        Aead::Aes128Gcm => 16,
    }
}

impl Chunks {
    /// salt = enc || response_nonce; prk = Extract(salt, secret); key and nonce by Expand.
    pub(super) fn new(
        aead: Aead,
        secret: &[u8],
        enc: &[u8],
        response_nonce: &[u8],
    ) -> Result<Self, SealedError> {
        let failed = SealedError::Randomness;
        let hkdf = Hkdf::<Sha256>::new(Some(&[enc, response_nonce].concat()), secret);
        let mut key = Zeroizing::new(vec![0; entropy(aead)]);
        hkdf.expand(b"key", &mut key).map_err(|_| failed)?;
        let mut nonce = [0; 12];
        hkdf.expand(b"nonce", &mut nonce).map_err(|_| failed)?;
        let cipher = match aead {
            Aead::Aes256Gcm => Cipher::Aes256(Box::new(Aes256Gcm::new_from_slice(&key).map_err(|_| failed)?)),
            Aead::Aes128Gcm => Cipher::Aes128(Box::new(Aes128Gcm::new_from_slice(&key).map_err(|_| failed)?)),
        };
        Ok(Self { cipher, nonce, number: 0 })
    }

    pub(super) fn seal(&mut self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealedError> {
        let nonce = self.next()?;
        let payload = Payload { msg: plaintext, aad };
        let sealed = match &self.cipher {
            Cipher::Aes256(cipher) => cipher.encrypt(&Nonce::from(nonce), payload),
            Cipher::Aes128(cipher) => cipher.encrypt(&Nonce::from(nonce), payload),
        };
        sealed.map_err(|_| SealedError::TooManyChunks)
    }

    pub(super) fn open(&mut self, ciphertext: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let number = self.number;
        let nonce = self.next()?;
        let payload = Payload { msg: ciphertext, aad };
        let opened = match &self.cipher {
            Cipher::Aes256(cipher) => cipher.decrypt(&Nonce::from(nonce), payload),
            Cipher::Aes128(cipher) => cipher.decrypt(&Nonce::from(nonce), payload),
        };
        opened.map(Zeroizing::new).map_err(|_| SealedError::NotAuthentic { number })
    }

    /// The base nonce with the number of the chunk in it, which is then the next one's.
    fn next(&mut self) -> Result<[u8; 12], SealedError> {
        let mut nonce = self.nonce;
        for (byte, number) in nonce.iter_mut().rev().zip(self.number.to_le_bytes()) {
            *byte ^= number;
        }
        self.number = self.number.checked_add(1).ok_or(SealedError::TooManyChunks)?;
        Ok(nonce)
    }
}
