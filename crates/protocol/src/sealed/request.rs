//! A sealed request (draft-ietf-ohai-chunked-ohttp-08 §6.1). It is sealed and opened whole: what a server answers to is one document.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::aead::{Chunks, entropy};
use super::chunks::{self, LAST, MAX_PLAINTEXT, NOT_LAST};
use super::error::SealedError;
use super::hpke::{self, SEED};
use super::keys::{Aead, HKDF_SHA256, Kem, KeyPairs, SealingKey};
use super::response::{AnswerOpener, AnswerSealer};
use crate::Plaintext;

/// What the two directions of an exchange are called in their keys.
pub(super) struct Labels {
    pub(super) request: &'static [u8],
    pub(super) response: &'static [u8],
}

pub(super) const CHUNKED: Labels =
    Labels { request: b"message/bhttp chunked request", response: b"message/bhttp chunked response" };

/// A request that is ready to be sent, and what opens its answer.
pub struct Sealed {
    /// The bytes to send.
    pub message: Vec<u8>,
    /// Opens the answer to this request and to no other.
    pub answer: AnswerOpener,
}

/// A request that was opened.
pub struct Opened {
    /// What was sealed.
    pub request: Plaintext<Vec<u8>>,
    /// Seals the answer.
    pub answer: AnswerSealer,
    /// SHA-256 of the encapsulated key. No two requests have the same, so that one that comes twice was replayed (OHT-07).
    pub identity: [u8; 32],
}

impl SealingKey {
    /// Seals `request` with 64 random bytes, which are used for nothing else.
    ///
    /// # Errors
    /// [`SealedError::Configuration`] where the key is none.
    pub fn seal(&self, request: &[u8], seed: &Zeroizing<[u8; SEED]>) -> Result<Sealed, SealedError> {
        let suite = (self.kem, self.aead);
        let header = header(self.id, suite);
        let info = info(&CHUNKED, &header);
        let (enc, mut context) = hpke::sender(suite, &self.public, &info, seed)?;
        let mut message = [&header[..], &enc].concat();
        message.reserve(request.len().saturating_add(request.len() / 512).saturating_add(64));
        for piece in request.chunks(MAX_PLAINTEXT) {
            chunks::write(&context.seal(piece, NOT_LAST)?, &mut message);
        }
        chunks::write_last(&context.seal(&[], LAST)?, &mut message);
        let mut secret = Zeroizing::new(vec![0; entropy(self.aead)]);
        context.export(CHUNKED.response, &mut secret)?;
        Ok(Sealed { message, answer: AnswerOpener::new(self.aead, secret, enc) })
    }
}

impl KeyPairs {
    /// Opens a request that is sealed to one of these keys. `response_nonce` is 32 fresh random bytes for the answer.
    ///
    /// # Errors
    /// Whatever is wrong with it (OHT-04 to OHT-06).
    pub fn open(&self, message: &[u8], response_nonce: &[u8; 32]) -> Result<Opened, SealedError> {
        let (header, rest) = message.split_first_chunk::<HEADER>().ok_or(SealedError::Cut)?;
        let [id, k0, k1, d0, d1, a0, a1] = *header;
        let pair = self.pair(id).ok_or(SealedError::UnknownKey { id })?;
        let kem = Kem::of(u16::from_be_bytes([k0, k1])).filter(|kem| *kem == pair.kem);
        let kdf = u16::from_be_bytes([d0, d1]) == HKDF_SHA256;
        let aead = Aead::of(u16::from_be_bytes([a0, a1])).filter(|_| kdf);
        let suite = kem.zip(aead).ok_or(SealedError::Suite { id })?;
        let (enc, rest) = rest.split_at_checked(suite.0.enc_len()).ok_or(SealedError::Cut)?;
        let mut context = hpke::receiver(suite, &pair.private, enc, &info(&CHUNKED, header))?;

        // One allocation: no half-grown copies of a prompt stay behind.
        let mut request = Zeroizing::new(Vec::with_capacity(rest.len()));
        let mut number = 0_u64;
        let mut splitter = chunks::Splitter::default();
        splitter.push(rest, |chunk| {
            let opened = context.open(chunk, NOT_LAST).ok_or(SealedError::NotAuthentic { number })?;
            number = number.saturating_add(1);
            request.extend_from_slice(&opened);
            Ok(())
        })?;
        let last =
            splitter.finish(|chunk| context.open(chunk, LAST).ok_or(SealedError::NotAuthentic { number }))?;
        request.extend_from_slice(&last);

        let mut secret = Zeroizing::new(vec![0; entropy(suite.1)]);
        context.export(CHUNKED.response, &mut secret)?;
        let nonce = response_nonce.get(..entropy(suite.1)).unwrap_or_default();
        let answer = AnswerSealer::new(Chunks::new(suite.1, &secret, enc, nonce)?, nonce.to_vec());
        let request = Plaintext::new(std::mem::take(&mut *request));
        Ok(Opened { request, answer, identity: Sha256::digest(enc).into() })
    }
}

/// The header of a request: key, KEM, KDF, AEAD.
pub(super) fn header(id: u8, (kem, aead): (Kem, Aead)) -> [u8; HEADER] {
    let [k0, k1] = kem.code().to_be_bytes();
    let [d0, d1] = HKDF_SHA256.to_be_bytes();
    let [a0, a1] = aead.code().to_be_bytes();
    [id, k0, k1, d0, d1, a0, a1]
}

/// HPKE's `info`: the direction's name, a zero byte, the header.
pub(super) fn info(labels: &Labels, header: &[u8]) -> Vec<u8> {
    [labels.request, &[0], header].concat()
}

const HEADER: usize = 7;
