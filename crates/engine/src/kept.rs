//! What was computed for texts that have ended, for those that begin alike (spec/serving.md, section 4).
//!
//! Which of them are alive shows in how long a prompt takes to read. So a text is kept only where its request has a tenant, and
//! serves only requests of the same tenant: nobody else learns anything.

use crate::ffi::{Sequence, Token};
use crate::request::Tenant;

/// Texts that have ended, the one that was used last at the end.
pub(crate) struct Kept {
    texts: Vec<Text>,
    /// Sequences that are free.
    free: Vec<Sequence>,
}

struct Text {
    tenant: Tenant,
    tokens: Vec<Token>,
    sequence: Sequence,
}

/// A beginning that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) sequence: Sequence,
    pub(crate) tokens: u32,
}

impl Kept {
    /// Keeps a text in each of these sequences.
    pub(crate) fn new(sequences: impl Iterator<Item = Sequence>) -> Self {
        Self { texts: Vec::new(), free: sequences.collect() }
    }

    /// Cells that the texts have.
    pub(crate) fn cells(&self) -> u32 {
        self.texts.iter().map(Text::cells).fold(0, u32::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The longest beginning of `prompt` that is worth taking. Its last token is read in any case: what follows it is asked for.
    pub(crate) fn beginning(&mut self, tenant: Tenant, prompt: &[Token]) -> Option<Beginning> {
        let wanted = prompt.get(..prompt.len().saturating_sub(1)).unwrap_or_default();
        let common = |text: &Text| text.tokens.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let same = self.texts.iter().enumerate().filter(|(_, text)| text.tenant == tenant);
        let (index, length) =
            same.map(|(index, text)| (index, common(text))).max_by_key(|(_, length)| *length)?;
        if length < WORTH {
            return None;
        }
        let text = self.texts.remove(index);
        let sequence = text.sequence;
        self.texts.push(text);
        Some(Beginning { sequence, tokens: u32::try_from(length).unwrap_or(0) })
    }

    /// A sequence for a text that has ended, and the sequences of texts that go for it: an earlier part of it, or the one that was not used
    /// for the longest time. `None` where nothing is kept.
    pub(crate) fn keep(&mut self, tenant: Tenant, tokens: Vec<Token>) -> Option<(Sequence, Vec<Sequence>)> {
        if tokens.len() < WORTH {
            return None;
        }
        let mut gone = Vec::new();
        self.texts.retain(|text| {
            let part = text.tenant == tenant && tokens.starts_with(&text.tokens);
            if part {
                gone.push(text.sequence);
            }
            !part
        });
        self.free.extend(&gone);
        if self.free.is_empty() {
            gone.extend(self.drop_oldest());
        }
        let sequence = self.free.pop()?;
        self.texts.push(Text { tenant, tokens, sequence });
        Some((sequence, gone))
    }

    /// The sequence of the text that was not used for the longest time, which is forgotten.
    pub(crate) fn drop_oldest(&mut self) -> Option<Sequence> {
        if self.texts.is_empty() {
            return None;
        }
        let sequence = self.texts.remove(0).sequence;
        self.free.push(sequence);
        Some(sequence)
    }
}

impl Text {
    fn cells(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }
}

/// Shorter beginnings are read again: it takes no longer than to look for them.
const WORTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const A: Tenant = Tenant([1; 32]);
    const B: Tenant = Tenant([2; 32]);

    fn text(first: Token, length: usize) -> Vec<Token> {
        std::iter::once(first).chain((0..).take(length - 1)).collect()
    }

    #[test]
    fn a_beginning_is_found_by_its_own_tenant_only() {
        let mut kept = Kept::new([8, 9].into_iter());
        assert_eq!(kept.beginning(A, &text(7, 100)), None);
        assert_eq!(kept.keep(A, text(7, 50)), Some((9, vec![])));
        assert_eq!(kept.beginning(A, &text(7, 100)), Some(Beginning { sequence: 9, tokens: 50 }));
        // Not all of it: the last token is read again.
        assert_eq!(kept.beginning(A, &text(7, 50)), Some(Beginning { sequence: 9, tokens: 49 }));
        assert_eq!(kept.beginning(A, &text(7, 40)), Some(Beginning { sequence: 9, tokens: 39 }));
        assert_eq!(kept.beginning(B, &text(7, 100)), None, "another tenant");
        assert_eq!(kept.beginning(A, &text(6, 100)), None, "another beginning");
        assert_eq!(kept.beginning(A, &text(7, 16)), None, "not worth it");
        assert_eq!(kept.beginning(A, &[]), None);
    }

    #[test]
    fn the_longest_one_is_taken() {
        let mut kept = Kept::new([8, 9].into_iter());
        let mut other = text(7, 30);
        other.extend([999; 30]);
        kept.keep(A, other).unwrap();
        kept.keep(A, text(7, 60)).unwrap();
        assert_eq!(kept.beginning(A, &text(7, 100)), Some(Beginning { sequence: 8, tokens: 60 }));
    }

    #[test]
    fn what_goes_is_a_part_of_the_new_text_or_the_oldest() {
        let mut kept = Kept::new([8, 9].into_iter());
        kept.keep(A, text(1, 20)).unwrap();
        // The conversation went on.
        assert_eq!(kept.keep(A, text(1, 40)), Some((9, vec![9])));
        assert_eq!(kept.keep(B, text(1, 60)), Some((8, vec![])), "of another tenant, so both stay");
        assert_eq!(kept.cells(), 100);
        // The older one is used once more.
        kept.beginning(A, &text(1, 100)).unwrap();
        assert_eq!(kept.keep(A, text(2, 20)), Some((8, vec![8])));
        assert_eq!(kept.beginning(B, &text(1, 100)), None);
        assert_eq!(kept.drop_oldest(), Some(9));
        assert_eq!(kept.drop_oldest(), Some(8));
        assert_eq!((kept.drop_oldest(), kept.is_empty(), kept.cells()), (None, true, 0));
        assert_eq!(kept.keep(A, text(3, 15)), None, "not worth it");
    }
}
