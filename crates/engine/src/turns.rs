//! Who is next: the first of each key's own queue, the keys in turn. So one that has sent many does not make the others wait for all
//! of them.

use std::collections::{BTreeMap, VecDeque};

/// Queues by key, none of them empty.
pub(crate) struct Turns<K, T> {
    queues: BTreeMap<K, VecDeque<T>>,
    /// Whose turn it was last.
    last: Option<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), last: None }
    }
}

impl<K: Ord + Copy, T> Turns<K, T> {
    pub(crate) fn push(&mut self, key: K, value: T) {
        self.queues.entry(key).or_default().push_back(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The one whose turn it is. It stays so until it is taken.
    pub(crate) fn next(&self) -> Option<&T> {
        self.queues.get(&self.turn()?)?.front()
    }

    /// Takes the one whose turn it is.
    pub(crate) fn take(&mut self) -> Option<T> {
        let key = self.turn()?;
        let queue = self.queues.get_mut(&key)?;
        let value = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        self.last = Some(key);
        value
    }

    /// Takes all of which this holds, out of their turn.
    pub(crate) fn extract(&mut self, mut holds: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        self.queues.retain(|_, queue| {
            let (out, stay): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(queue).into_iter().partition(|value| holds(value));
            taken.extend(out);
            *queue = stay;
            !queue.is_empty()
        });
        taken
    }

    /// The first key behind the last one, or the first of all.
    fn turn(&self) -> Option<K> {
        let behind = |key: &K| self.last.is_none_or(|last| *key > last);
        self.queues.keys().copied().find(behind).or_else(|| self.queues.keys().next().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_turns() {
        let mut turns = Turns::default();
        for value in [10, 11, 12] {
            turns.push(1, value);
        }
        turns.push(2, 20);
        assert_eq!(turns.next().copied(), Some(10));
        assert_eq!(turns.take(), Some(10));
        turns.push(3, 30);
        turns.push(0, 0);
        assert_eq!([(); 6].map(|()| turns.take()), [Some(20), Some(30), Some(0), Some(11), Some(12), None]);
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_extracted_is_gone() {
        let mut turns = Turns::default();
        for (key, value) in [(1, 10), (1, 11), (2, 20), (3, 31)] {
            turns.push(key, value);
        }
        assert_eq!(turns.extract(|value| value % 2 == 0), [10, 20]);
        assert_eq!([(); 3].map(|()| turns.take()), [Some(11), Some(31), None]);
    }
}
