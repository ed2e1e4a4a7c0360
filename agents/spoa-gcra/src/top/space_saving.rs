//! Space-Saving: which keys of a stream are frequent, and how often they came, by a fixed number
//! of counters (Metwally, Agrawal, El Abbadi, ICDT 2005).
//!
//! A key that has a counter is counted there. One that has none takes over the counter of the
//! least count and goes on from it: by so much its count may be too high, which is its *error*.
//! Of `n` keys counted by `m` counters it holds that
//!
//! * `true <= count <= true + error`, and `error <= n / m`;
//! * a key that came more than `n / m` times has a counter;
//! * the counts add up to `n`.
//!
//! Counters stand in the order of their counts. One more moves a counter behind those of the same
//! count, which takes one exchange with the last of them, found by bisection:
//!
//! ```text
//!   count    1  1  4  4  4  9         1  1  4  4  5  9
//!   counter  a  b  c  d  e  f    ──▶  a  b  e  d  c  f
//!                  ▲ one more                    ▲
//! ```

use std::ops::Add;

use hashbrown::HashTable;

/// Counters for keys of a kind. All of its memory is taken when it is made.
pub(super) struct SpaceSaving<K> {
    /// By place, ascending.
    counts: Box<[u64]>,
    /// Which counter is in the place.
    order: Box<[u16]>,
    counters: Box<[Counter<K>]>,
    /// The counters that have a key, by its hash.
    index: HashTable<u16>,
}

struct Counter<K> {
    /// `None`: nobody's yet; its count is 0 then.
    key: Option<K>,
    hash: u64,
    error: u64,
    place: u16,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimate {
    /// How often it came, at most.
    pub(super) count: u64,
    /// By how much that may be too high.
    pub(super) error: u64,
}

impl Add for Estimate {
    type Output = Self;

    /// Of the same key in two streams.
    fn add(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            error: self.error + other.error,
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "places and counters have the same numbers, below their number, which is not 0"
)]
impl<K> SpaceSaving<K> {
    /// So many counters, one at least.
    pub(super) fn new(counters: u16) -> Self {
        let numbers = 0..counters.max(1);
        Self {
            counts: numbers.clone().map(|_| 0).collect(),
            order: numbers.clone().collect(),
            counters: numbers.map(Counter::unused).collect(),
            // Twice as many as there ever are: it then never grows, but tidies up in place.
            index: HashTable::with_capacity(2 * usize::from(counters.max(1))),
        }
    }

    /// Counts a key: the one with this hash that `is` recognises. `key` makes it if it has no
    /// counter.
    pub(super) fn add(&mut self, hash: u64, is: impl Fn(&K) -> bool, key: impl FnOnce() -> K) {
        let number = match self.find(hash, is) {
            Some(number) => number,
            None => self.replace_least(hash, key()),
        };
        self.increment(number);
    }

    /// What is known of a key that has a counter.
    pub(super) fn get(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<Estimate> {
        let number = self.find(hash, is)?;
        Some(self.estimate(&self.counters[usize::from(number)]))
    }

    /// What is known of a key that has none: it did not come more often than the one of the least
    /// count, and never as long as there are counters that nobody has.
    pub(super) fn unknown(&self) -> Estimate {
        Estimate {
            count: self.counts[0],
            error: self.counts[0],
        }
    }

    /// All keys that have a counter, with their hashes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u64, Estimate)> {
        self.counters.iter().filter_map(|counter| {
            let key = counter.key.as_ref()?;
            Some((key, counter.hash, self.estimate(counter)))
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        self.index.clear();
        for counter in &mut self.counters {
            counter.key = None;
        }
    }

    /// Bytes on the heap, without what keys have there.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        size_of_val(&*self.counts)
            + size_of_val(&*self.order)
            + size_of_val(&*self.counters)
            + self.index.allocation_size()
    }

    fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<u16> {
        let is = |number: &u16| {
            let counter = &self.counters[usize::from(*number)];
            counter.key.as_ref().is_some_and(&is)
        };
        self.index.find(hash, is).copied()
    }

    fn estimate(&self, counter: &Counter<K>) -> Estimate {
        Estimate {
            count: self.counts[usize::from(counter.place)],
            error: counter.error,
        }
    }

    fn replace_least(&mut self, hash: u64, key: K) -> u16 {
        let number = self.order[0];
        let counter = &mut self.counters[usize::from(number)];
        let is = |other: &u16| *other == number;
        if counter.key.is_some()
            && let Ok(entry) = self.index.find_entry(counter.hash, is)
        {
            entry.remove();
        }
        counter.key = Some(key);
        counter.hash = hash;
        counter.error = self.counts[0];
        let rehash = |number: &u16| self.counters[usize::from(*number)].hash;
        self.index.insert_unique(hash, number, rehash);
        number
    }

    fn increment(&mut self, number: u16) {
        let place = self.counters[usize::from(number)].place;
        let from = usize::from(place);
        let count = self.counts[from];
        let equal = self.counts[from..].partition_point(|other| *other == count);
        let last = from + equal - 1;
        let other = self.order[last];
        self.order.swap(from, last);
        self.counters[usize::from(number)].place = self.counters[usize::from(other)].place;
        self.counters[usize::from(other)].place = place;
        self.counts[last] = count + 1;
    }
}

impl<K> Counter<K> {
    fn unused(place: u16) -> Self {
        Self {
            key: None,
            hash: 0,
            error: 0,
            place,
        }
    }
}
