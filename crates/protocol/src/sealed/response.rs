//! A sealed answer (draft-ietf-ohai-chunked-ohttp-08 §6.2), as it comes.

use zeroize::Zeroizing;

use super::aead::{Chunks, entropy};
use super::chunks::{self, LAST, MAX_PLAINTEXT, NOT_LAST, Splitter};
use super::error::SealedError;
use super::keys::Aead;

/// Seals the answer to one request.
pub struct AnswerSealer {
    chunks: Chunks,
    /// The nonce, which goes before the first chunk.
    nonce: Vec<u8>,
}

/// Opens the answer to one request. Until [`AnswerOpener::finish`] says so, nobody knows that it is whole.
pub struct AnswerOpener {
    aead: Aead,
    secret: Zeroizing<Vec<u8>>,
    enc: Vec<u8>,
    /// The beginning, until the nonce is whole.
    nonce: Vec<u8>,
    chunks: Option<Chunks>,
    splitter: Splitter,
}

impl AnswerSealer {
    pub(super) fn new(chunks: Chunks, nonce: Vec<u8>) -> Self {
        Self { chunks, nonce }
    }

    /// Seals `plaintext`, in one chunk where it has no more than 16,384 bytes: what is to be sent next.
    ///
    /// # Errors
    /// [`SealedError::TooManyChunks`].
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, SealedError> {
        let mut out = std::mem::take(&mut self.nonce);
        for piece in plaintext.chunks(MAX_PLAINTEXT) {
            chunks::write(&self.chunks.seal(piece, NOT_LAST)?, &mut out);
        }
        Ok(out)
    }

    /// Seals the end: the last that is to be sent.
    ///
    /// # Errors
    /// [`SealedError::TooManyChunks`].
    pub fn finish(mut self) -> Result<Vec<u8>, SealedError> {
        let mut out = std::mem::take(&mut self.nonce);
        chunks::write_last(&self.chunks.seal(&[], LAST)?, &mut out);
        Ok(out)
    }
}

impl AnswerOpener {
    pub(super) fn new(aead: Aead, secret: Zeroizing<Vec<u8>>, enc: Vec<u8>) -> Self {
        Self { aead, secret, enc, nonce: Vec::new(), chunks: None, splitter: Splitter::default() }
    }

    /// One that opens nothing, to leave in another's place.
    pub fn spent() -> Self {
        Self::new(Aead::Aes256Gcm, Zeroizing::default(), Vec::new())
    }

    /// Takes bytes as they arrive; what they complete is added to `out`. After an error nothing more is opened.
    ///
    /// # Errors
    /// A chunk that is too long or does not authenticate.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Zeroizing<Vec<u8>>) -> Result<(), SealedError> {
        let chunks = match &mut self.chunks {
            Some(chunks) => chunks,
            none => {
                let missing = entropy(self.aead).saturating_sub(self.nonce.len()).min(bytes.len());
                let (of_nonce, rest) = bytes.split_at(missing);
                self.nonce.extend_from_slice(of_nonce);
                if self.nonce.len() < entropy(self.aead) {
                    return Ok(());
                }
                bytes = rest;
                none.insert(Chunks::new(self.aead, &self.secret, &self.enc, &self.nonce)?)
            }
        };
        self.splitter.push(bytes, |chunk| {
            out.extend_from_slice(&chunks.open(chunk, NOT_LAST)?);
            Ok(())
        })
    }

    /// Says that nothing more arrives: what the last chunk held.
    ///
    /// # Errors
    /// [`SealedError::Cut`] where that was not the end.
    pub fn finish(self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let mut chunks = self.chunks.ok_or(SealedError::Cut)?;
        self.splitter.finish(|chunk| chunks.open(chunk, LAST))
    }
}
