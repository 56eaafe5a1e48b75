//! Whose each cell of the attention cache is, so that a cell which is nobody's any more can be overwritten at once
//! (spec/serving.md, SRV-25). llama.cpp knows it too, and does not tell.

use std::ops::Range;

use crate::ffi::Sequence;

/// The cells of one cache.
#[derive(Default)]
pub(crate) struct Cells(Vec<Cell>);

/// One cell: a position of the sequences that have it.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// A bit for each sequence: llama.cpp has 256 at most.
    owners: [u128; 2],
    position: u32,
}

impl Cells {
    pub(crate) fn new(cells: usize) -> Self {
        Self(vec![Cell::default(); cells])
    }

    /// A cell holds what was computed for this position of this sequence now. False where there is no such cell or sequence.
    #[must_use]
    pub(crate) fn write(&mut self, cell: usize, sequence: Sequence, position: u32) -> bool {
        let (Some(cell), Some(bit)) = (self.0.get_mut(cell), Bit::of(sequence)) else { return false };
        *cell = Cell { owners: [0; 2], position };
        bit.set(cell);
        true
    }

    /// `to` has the first `tokens` cells of `from` too.
    pub(crate) fn share(&mut self, from: Sequence, to: Sequence, tokens: u32) {
        let (Some(from), Some(to)) = (Bit::of(from), Bit::of(to)) else { return };
        for cell in self.0.iter_mut().filter(|cell| from.has(cell) && cell.position < tokens) {
            to.set(cell);
        }
    }

    /// Takes a sequence's cells from a position on away from it. Returns those that are nobody's now, as ranges.
    pub(crate) fn release(&mut self, sequence: Sequence, from: u32) -> Vec<Range<usize>> {
        let Some(bit) = Bit::of(sequence) else { return Vec::new() };
        let mut free: Vec<Range<usize>> = Vec::new();
        for (index, cell) in self.0.iter_mut().enumerate() {
            if !bit.has(cell) || cell.position < from {
                continue;
            }
            bit.clear(cell);
            if cell.is_free() {
                match free.last_mut() {
                    Some(last) if last.end == index => last.end = index + 1,
                    _ => free.push(index..index + 1),
                }
            }
        }
        free
    }

    /// Nobody's, all of them.
    pub(crate) fn clear(&mut self) {
        self.0.fill(Cell::default());
    }

    /// Those that are nobody's.
    pub(crate) fn free(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, cell)| cell.is_free()).map(|(index, _)| index)
    }

    /// How many a sequence has.
    pub(crate) fn count(&self, sequence: Sequence) -> usize {
        let bit = Bit::of(sequence);
        self.0.iter().filter(|cell| bit.as_ref().is_some_and(|bit| bit.has(cell))).count()
    }
}

impl Cell {
    fn is_free(&self) -> bool {
        self.owners == [0; 2]
    }
}

/// A sequence's bit.
struct Bit {
    word: usize,
    mask: u128,
}

impl Bit {
    fn of(sequence: Sequence) -> Option<Self> {
        let number = usize::try_from(sequence).ok().filter(|number| *number < 256)?;
        Some(Self { word: number / 128, mask: 1 << (number % 128) })
    }

    fn has(&self, cell: &Cell) -> bool {
        cell.owners.get(self.word).is_some_and(|word| word & self.mask != 0)
    }

    fn set(&self, cell: &mut Cell) {
        if let Some(word) = cell.owners.get_mut(self.word) {
            *word |= self.mask;
        }
    }

    fn clear(&self, cell: &mut Cell) {
        if let Some(word) = cell.owners.get_mut(self.word) {
            *word &= !self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(cells: &mut Cells, sequence: Sequence, from: u32) -> Vec<(usize, usize)> {
        cells.release(sequence, from).into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn a_cell_is_free_when_its_last_sequence_goes() {
        let mut cells = Cells::new(8);
        for position in 0..4 {
            assert!(cells.write(position, 0, u32::try_from(position).unwrap()));
        }
        assert!(cells.write(6, 255, 0));
        cells.share(0, 200, 2);
        assert_eq!((cells.count(0), cells.count(200), cells.count(255)), (4, 2, 1));
        assert_eq!(released(&mut cells, 0, 3), [(3, 4)], "a wrong guess at the end");
        assert_eq!(released(&mut cells, 0, 0), [(2, 3)], "the others are shared");
        assert_eq!(released(&mut cells, 0, 0), []);
        assert_eq!(released(&mut cells, 200, 0), [(0, 2)]);
        assert_eq!(cells.free().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 7]);
        assert_eq!(released(&mut cells, 255, 0), [(6, 7)]);
    }

    #[test]
    fn a_cell_that_is_written_again_has_its_new_owner_only() {
        let mut cells = Cells::new(4);
        assert!(cells.write(1, 3, 0) && cells.write(1, 4, 9));
        assert_eq!(released(&mut cells, 3, 0), []);
        assert_eq!(released(&mut cells, 4, 10), []);
        assert_eq!(released(&mut cells, 4, 9), [(1, 2)]);
    }

    #[test]
    fn what_does_not_exist_is_not_written() {
        let mut cells = Cells::new(4);
        assert!(!cells.write(4, 0, 0));
        assert!(!cells.write(0, -1, 0));
        assert!(!cells.write(0, 256, 0));
        assert!(cells.write(0, 0, 0));
        cells.clear();
        assert_eq!(cells.free().count(), 4);
    }
}
