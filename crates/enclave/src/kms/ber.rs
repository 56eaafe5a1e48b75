//! The part of BER (X.690 §8) that KMS's envelopes are written in: one-octet tags, definite lengths in the shortest form, and for constructed
//! values also indefinite ones, which two zero octets end.

use super::KmsError;

/// A reader within the value that was opened last.
pub(super) struct Ber<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the innermost value of definite length ends.
    limit: usize,
}

/// A constructed value that is being read. It is closed, or everything is refused.
#[must_use]
pub(super) struct Opened {
    /// The limit around it.
    outer: usize,
    definite: bool,
}

enum Length {
    Definite(usize),
    Indefinite,
}

impl<'a> Ber<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, limit: bytes.len() }
    }

    /// The next value's tag, where there is one.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at..self.limit)?.first().copied()
    }

    /// Goes into a constructed value.
    pub(super) fn open(&mut self, tag: u8, what: &'static str) -> Result<Opened, KmsError> {
        let length = self.header(tag, what)?;
        let outer = self.limit;
        match length {
            Length::Definite(length) => {
                self.limit = self.end(length, what)?;
                Ok(Opened { outer, definite: true })
            }
            Length::Indefinite => Ok(Opened { outer, definite: false }),
        }
    }

    /// Leaves it: nothing is behind what was read.
    pub(super) fn close(&mut self, opened: Opened, what: &'static str) -> Result<(), KmsError> {
        if opened.definite {
            if self.at != self.limit {
                return Err(self.wrong(what));
            }
            self.limit = opened.outer;
            return Ok(());
        }
        match self.take(2) {
            Some([0, 0]) => Ok(()),
            _ => Err(self.wrong(what)),
        }
    }

    /// The content of a primitive value.
    pub(super) fn primitive(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], KmsError> {
        match self.header(tag, what)? {
            Length::Definite(length) => self.take(length).ok_or_else(|| self.wrong(what)),
            Length::Indefinite => Err(self.wrong(what)),
        }
    }

    /// A primitive value with exactly this content.
    pub(super) fn exactly(&mut self, tag: u8, content: &[u8], what: &'static str) -> Result<(), KmsError> {
        let at = self.at;
        if self.primitive(tag, what)? == content { Ok(()) } else { Err(KmsError::Envelope { at, what }) }
    }

    /// That everything was read.
    pub(super) fn end_of_all(&self, what: &'static str) -> Result<(), KmsError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong(what)) }
    }

    pub(super) fn wrong(&self, what: &'static str) -> KmsError {
        KmsError::Envelope { at: self.at, what }
    }

    fn header(&mut self, tag: u8, what: &'static str) -> Result<Length, KmsError> {
        let at = self.at;
        let wrong = move || KmsError::Envelope { at, what };
        let [found, first] = self.take(2).ok_or_else(wrong)? else { return Err(wrong()) };
        if *found != tag {
            return Err(wrong());
        }
        let length = match *first {
            0x80 => return Ok(Length::Indefinite),
            short @ 0..0x80 => usize::from(short),
            0x81 => match self.take(1) {
                Some([one]) if *one >= 0x80 => usize::from(*one),
                _ => return Err(wrong()),
            },
            0x82 => match self.take(2) {
                Some([high, low]) if *high > 0 => usize::from(u16::from_be_bytes([*high, *low])),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        Ok(Length::Definite(length))
    }

    fn end(&self, length: usize, what: &'static str) -> Result<usize, KmsError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.limit);
        end.ok_or_else(|| self.wrong(what))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.limit)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}
