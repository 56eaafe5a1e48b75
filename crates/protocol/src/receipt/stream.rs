//! Finds the receipt at the end of a stream of Server-Sent Events, and holds back the words that say that the stream is whole until somebody has
//! looked at it (spec/receipts.md, RCP-11 and PRX-14).

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{COMMENT, MAX_LEN};

/// A stream on its way through.
#[derive(Default)]
pub struct StreamReader {
    hash: Sha256,
    /// The beginning of a line that may become a mark.
    start: Zeroizing<Vec<u8>>,
    /// Whether the next byte is not the first of a line.
    within: bool,
    /// What comes after a mark of the end.
    held: Option<Zeroizing<Vec<u8>>>,
    receipt: Option<Vec<u8>>,
}

/// The end of a stream.
pub struct StreamEnd {
    /// SHA-256 of all that came before the receipt.
    pub digest: [u8; 32],
    /// What was held back, and now may go on: the mark of the end.
    pub held: Zeroizing<Vec<u8>>,
    /// What stands behind [`COMMENT`], in base64.
    pub receipt: Option<Vec<u8>>,
}

/// What says that a stream is whole, in OpenAI's form and in Anthropic's.
const ENDS: [&str; 2] = ["data: [DONE]", "event: message_stop"];

impl StreamReader {
    /// Takes the next bytes, and writes to `on` what may go on at once.
    pub fn push(&mut self, bytes: &[u8], on: &mut Vec<u8>) {
        if self.receipt.is_some() {
            self.push_receipt(bytes.iter());
            return;
        }
        let mut passed = Zeroizing::new(Vec::with_capacity(bytes.len().saturating_add(self.start.len())));
        let mut rest = bytes.iter();
        // What is before a mark of the end goes on at once.
        let mut free = self.held.is_none();
        let mut free_until = 0;
        for byte in rest.by_ref() {
            if self.within {
                passed.push(*byte);
                self.within = *byte != b'\n';
                continue;
            }
            self.start.push(*byte);
            if self.start.as_slice() == COMMENT.as_bytes() {
                self.receipt = Some(Vec::new());
                self.start.clear();
                break;
            }
            if ENDS.iter().any(|end| self.start.as_slice() == end.as_bytes()) {
                if free {
                    free_until = passed.len();
                    free = false;
                }
            } else if [COMMENT, ENDS[0], ENDS[1]].iter().any(|mark| mark.as_bytes().starts_with(&self.start))
            {
                continue;
            }
            passed.extend_from_slice(&self.start);
            self.within = self.start.last() != Some(&b'\n');
            self.start.clear();
        }
        self.hash.update(&passed);
        if free {
            free_until = passed.len();
        } else {
            self.held.get_or_insert_default();
        }
        let (now, later) = passed.split_at_checked(free_until).unwrap_or((&passed, &[]));
        on.extend_from_slice(now);
        if let Some(held) = &mut self.held {
            held.extend_from_slice(later);
        }
        self.push_receipt(rest);
    }

    fn push_receipt<'a>(&mut self, bytes: impl Iterator<Item = &'a u8>) {
        if let Some(receipt) = &mut self.receipt {
            let room = MAX_LEN.saturating_add(1).saturating_sub(receipt.len());
            receipt.extend(bytes.take(room));
        }
    }

    /// What was left at the end.
    #[must_use]
    pub fn finish(mut self) -> StreamEnd {
        self.hash.update(&*self.start);
        let mut held = self.held.unwrap_or_default();
        held.extend_from_slice(&self.start);
        StreamEnd { digest: self.hash.finalize().into(), held, receipt: self.receipt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<u8>, StreamEnd) {
        let (mut reader, mut on) = (StreamReader::default(), Vec::new());
        for piece in pieces {
            reader.push(piece, &mut on);
        }
        (on, reader.finish())
    }

    /// However the stream is cut into pieces.
    #[test]
    fn the_receipt_is_found_and_the_end_is_held() {
        for (text, end) in [
            ("data: {\"a\":\"\\n: casemate-receipt x\"}\n\ndata: {}\n\n", "data: [DONE]\n\n"),
            (
                "event: ping\ndata: {}\n\n: comment\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ),
            ("", "data: [DONE]\n\n"),
            ("data: 1\n\ndata: data: [DONE]\n\n", ""),
        ] {
            let whole = format!("{text}{end}{COMMENT}cmVjZWlwdA==\n\n");
            for size in 1..=whole.len() {
                let pieces: Vec<_> = whole.as_bytes().chunks(size).collect();
                let (on, last) = read(&pieces);
                assert_eq!(String::from_utf8_lossy(&on), text, "in pieces of {size}");
                assert_eq!(String::from_utf8_lossy(&last.held), end);
                assert_eq!(last.receipt.as_deref(), Some(&b"cmVjZWlwdA==\n\n"[..]));
                assert_eq!(last.digest, <[u8; 32]>::from(Sha256::digest(format!("{text}{end}"))));
            }
        }
    }

    #[test]
    fn without_a_receipt_there_is_none() {
        let (on, last) = read(&[b"data: 1\n\n", b"data: [DON"]);
        assert_eq!(on, b"data: 1\n\n");
        assert_eq!(last.receipt, None);
        assert_eq!(*last.held, b"data: [DON");
        assert_eq!(last.digest, <[u8; 32]>::from(Sha256::digest(b"data: 1\n\ndata: [DON")));
    }

    #[test]
    fn a_receipt_without_end_costs_no_memory() {
        let mut reader = StreamReader::default();
        reader.push(COMMENT.as_bytes(), &mut Vec::new());
        for _ in 0..100 {
            reader.push(&[b'A'; 4096], &mut Vec::new());
        }
        assert_eq!(reader.finish().receipt.map(|receipt| receipt.len()), Some(MAX_LEN + 1));
    }
}
