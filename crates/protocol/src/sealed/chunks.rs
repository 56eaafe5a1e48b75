//! How chunks follow each other (draft-ietf-ohai-chunked-ohttp-08 §3): each has its length before it, and the last one the length 0. The
//! last is authenticated as such, so that a message that was cut is none.

use zeroize::Zeroizing;

use super::error::SealedError;
use super::varint;

/// The most bytes of plaintext in a chunk.
pub(super) const MAX_PLAINTEXT: usize = 16_384;
const TAG: usize = 16;
pub(super) const MAX_CHUNK: usize = MAX_PLAINTEXT + TAG;
pub(super) const NOT_LAST: &[u8] = b"";
pub(super) const LAST: &[u8] = b"final";

/// Appends a sealed chunk that is not the last.
pub(super) fn write(chunk: &[u8], out: &mut Vec<u8>) {
    varint::write(chunk.len(), out);
    out.extend_from_slice(chunk);
}

/// Appends the last one, which is all that follows.
pub(super) fn write_last(chunk: &[u8], out: &mut Vec<u8>) {
    varint::write(0, out);
    out.extend_from_slice(chunk);
}

/// Finds chunks in bytes that arrive in any pieces.
#[derive(Default)]
pub(super) struct Splitter {
    waiting: Vec<u8>,
    /// Whether the length 0 was read: what comes then is the last chunk.
    last: bool,
}

impl Splitter {
    /// Takes what arrived and hands every whole chunk to `open`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut open: impl FnMut(&[u8]) -> Result<(), SealedError>,
    ) -> Result<(), SealedError> {
        self.waiting.extend_from_slice(bytes);
        let mut at = 0;
        while !self.last {
            let rest = self.waiting.get(at..).unwrap_or_default();
            let Some((len, prefix)) = varint::read(rest) else { break };
            if len == 0 {
                self.last = true;
                at = at.saturating_add(prefix);
                break;
            }
            let too_long = SealedError::ChunkTooLong { len, most: MAX_CHUNK };
            let len = usize::try_from(len).ok().filter(|len| *len <= MAX_CHUNK).ok_or(too_long)?;
            let end = prefix.saturating_add(len);
            let Some(chunk) = rest.get(prefix..end) else { break };
            open(chunk)?;
            at = at.saturating_add(end);
        }
        self.waiting.drain(..at);
        if self.last && self.waiting.len() > MAX_CHUNK {
            return Err(SealedError::Trailing);
        }
        Ok(())
    }

    /// The last chunk, when nothing more arrives.
    pub(super) fn finish(
        self,
        open: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, SealedError>,
    ) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        // A last chunk that is shorter than a tag was cut; one that was cut behind it does not authenticate.
        if !self.last || self.waiting.len() < TAG {
            return Err(SealedError::Cut);
        }
        open(&self.waiting)
    }
}
