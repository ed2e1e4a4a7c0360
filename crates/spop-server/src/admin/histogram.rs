//! Counts by size: how long, how many, how much.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a value fell below each of some bounds, since the start. To record one is to add
/// to two counters.
///
/// ```
/// use spop_server::admin::Histogram;
///
/// let batches = Histogram::new(&[1, 10, 100]);
/// for size in [1, 7, 10, 500] {
///     batches.record(size);
/// }
/// let read = batches.read();
/// assert_eq!(read.buckets, [(1, 1), (10, 3), (100, 3)]);
/// assert_eq!((read.count, read.sum), (4, 518));
/// ```
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds: what exceeds them all is in the last.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A [`Histogram`] as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramCounts {
    /// Each bound, and how many values were not above it.
    pub buckets: Vec<(u64, u64)>,
    /// How many values there were.
    pub count: u64,
    /// All of them added up; it starts again from 0 beyond `u64::MAX`.
    pub sum: u64,
}

impl Histogram {
    /// With these upper bounds, which ascend.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        // Most values are small: looking from below is over soon.
        let bounds = self.bounds.iter();
        let below = bounds.take_while(|&&bound| bound < value).count();
        if value != 0 {
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
        if let Some(bucket) = self.buckets.get(below) {
            bucket.fetch_add(1, Ordering::Release);
        }
    }

    /// The counts, as of now.
    pub fn read(&self) -> HistogramCounts {
        let mut count = 0;
        let mut cumulative = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Acquire);
            count
        });
        let bounds = self.bounds.iter().copied();
        let buckets = bounds.zip(&mut cumulative).collect();
        cumulative.for_each(drop);
        HistogramCounts {
            buckets,
            count,
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_nothing_is_lost() {
        let histogram = Histogram::new(&[0, 10]);
        for value in [0, 1, 10, 11, u64::from(u32::MAX)] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.buckets, [(0, 1), (10, 3)]);
        assert_eq!(read.count, 5);
        assert_eq!(read.sum, 22 + u64::from(u32::MAX));
    }
}
