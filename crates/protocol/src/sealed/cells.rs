//! Cells: an answer's content in pieces whose lengths say little about what is in them (OHT-10 to OHT-13).
//!
//! ```text
//! cell = padded (16 bits) || data (16 bits) || last (8 bits: 0 or 1) || data bytes || zeros       `padded` counts what follows the first five bytes
//! ```
//!
//! After the cell that is the last of the data come cells without any, so that the end cannot be seen either.

use zeroize::Zeroizing;

use super::chunks::MAX_PLAINTEXT;
use super::error::SealedError;
use super::varint;

/// How an answer is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not at all: each piece is sent as it comes.
    Off,
    /// Streams in cells at fixed times, larger ones where there is more; other answers in one piece of a bucket's length.
    Default,
    /// As `Default`, with cells of one size, so that nothing is seen but how long the stream took, to the next power of two.
    Constant,
}

impl Shape {
    /// The one that is called so.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Off, Self::Default, Self::Constant].into_iter().find(|shape| shape.name() == name)
    }

    /// What it is called, in the sealed request and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Default => "default",
            Self::Constant => "constant",
        }
    }

    /// How many cells a stream has that needs `cells` of them.
    pub fn rounded(self, cells: usize) -> usize {
        match self {
            Self::Off => cells,
            Self::Default => cells.next_multiple_of(STEP),
            Self::Constant => cells.checked_next_power_of_two().unwrap_or(cells).max(STEP),
        }
    }

    /// The size of the next cell of a stream, behind `before` bytes of a head, where `waiting` bytes of data wait.
    pub fn size(self, before: usize, waiting: usize) -> usize {
        let needed = match self {
            Self::Off | Self::Default => before.saturating_add(waiting).saturating_add(AROUND),
            Self::Constant => before.saturating_add(AROUND).saturating_add(1),
        };
        needed.checked_next_power_of_two().unwrap_or(MAX_PLAINTEXT).clamp(SMALLEST, MAX_PLAINTEXT)
    }
}

/// The bytes of data that a cell of `size` has room for behind `before` bytes of a head.
pub fn room(before: usize, size: usize) -> usize {
    size.saturating_sub(before).saturating_sub(AROUND)
}

/// The plaintext of a chunk of exactly `size` bytes: the head, if there is one, and a cell with as much of `data` as it has
/// [`room`] for, as a piece of content. `last` says that it is the last of the data.
pub fn write(head: &[u8], data: &[u8], last: bool, size: usize) -> Zeroizing<Vec<u8>> {
    let room = room(head.len(), size);
    let data = data.get(..room).unwrap_or(data);
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.extend_from_slice(head);
    varint::write(room.saturating_add(HEADER), &mut out);
    for number in [room, data.len()] {
        // A cell has 16 KiB at most.
        out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
    }
    out.push(last.into());
    out.extend_from_slice(data);
    out.resize(size, 0);
    out
}

/// Takes the data out of cells.
#[derive(Default)]
pub struct CellReader {
    waiting: Zeroizing<Vec<u8>>,
    ended: bool,
}

impl CellReader {
    /// Takes content; adds the data of whole cells to `out` and says whether the last of it is there.
    ///
    /// # Errors
    /// [`SealedError::Padding`].
    pub fn push(&mut self, content: &[u8], out: &mut Zeroizing<Vec<u8>>) -> Result<bool, SealedError> {
        self.waiting.extend_from_slice(content);
        let mut at = 0_usize;
        while let Some((header, rest)) = self.waiting.get(at..).and_then(<[u8]>::split_first_chunk::<HEADER>)
        {
            let [p0, p1, d0, d1, last] = *header;
            let (padded, data) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([d0, d1]));
            let Some(cell) = rest.get(..padded.into()) else { break };
            let (data, zeros) = cell.split_at_checked(data.into()).ok_or(SealedError::Padding)?;
            let late = self.ended && (last != 0 || !data.is_empty());
            if late || last > 1 || zeros.iter().any(|byte| *byte != 0) {
                return Err(SealedError::Padding);
            }
            self.ended |= last == 1;
            out.extend_from_slice(data);
            at = at.saturating_add(HEADER).saturating_add(cell.len());
        }
        self.waiting.drain(..at);
        Ok(self.ended)
    }

    /// Says that no more content comes.
    ///
    /// # Errors
    /// [`SealedError::Padding`] where a cell is not whole or the last one was none.
    pub fn finish(&self) -> Result<(), SealedError> {
        if self.ended && self.waiting.is_empty() { Ok(()) } else { Err(SealedError::Padding) }
    }
}

/// The smallest chunk of a shaped answer, also its end.
pub const SMALLEST: usize = 2048;
/// Streams end after a multiple of so many cells.
const STEP: usize = 16;
const HEADER: usize = 5;
/// A cell's header, and its length as a piece of content, which has two bytes: a cell has 64 bytes or more.
const AROUND: usize = HEADER + 2;
