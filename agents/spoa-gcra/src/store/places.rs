//! A fixed number of places for entries, found by a keyed hash: what the denial cache and the
//! leases are kept in. It does not know what an entry is, nor who has to make way for whom.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that share a lock and compete for room.
pub(super) const WAYS: usize = 8;

/// Places in sets of [`WAYS`], each set behind its own lock.
#[derive(Debug)]
pub(super) struct Places<E> {
    /// Not empty. Each grows to [`WAYS`] entries as they come; whoever adds one sees to it
    /// that it goes no further.
    sets: Box<[Mutex<Vec<E>>]>,
    /// Keyed at random, so that nobody can choose addresses that push others out.
    hasher: RandomState,
}

impl<E> Places<E> {
    /// So many places, rounded up to whole sets.
    pub(super) fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).max(1);
        Self {
            sets: std::iter::repeat_with(Mutex::default).take(sets).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The set in which the entry of this key is, if there is one. The hash only says where
    /// to look: whether an entry is the right one is for the caller to compare.
    #[expect(
        clippy::indexing_slicing,
        reason = "a 32-bit number times len, over 2^32, is below len"
    )]
    pub(super) fn of(&self, key: impl Hash) -> MutexGuard<'_, Vec<E>> {
        let hash = self.hasher.hash_one(key);
        let set = ((hash >> 32) * self.sets.len() as u64) >> 32;
        // A panic elsewhere leaves a set whole: entries are written in one assignment.
        self.sets[set as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries there are, and entries that there is memory for.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        self.sets.iter().fold((0, 0), |(entries, places), set| {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            (entries + set.len(), places + set.capacity())
        })
    }
}
