//! Pauses between attempts: doubling, bounded, and random, so that many agents do not come
//! back to a recovering server at the same instant.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);

/// The pauses of one streak of failures.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait before the next attempt: 10 to 20 ms at first, 250 to 500 ms at last.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        pause
    }
}

/// A random duration between half of `most` and all of it.
pub(super) fn jittered(most: Duration) -> Duration {
    let half = most / 2;
    half + half.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

/// A random number, as good as the keys that the standard library gives its hash maps.
pub(super) fn random() -> u32 {
    let bits = RandomState::new().build_hasher().finish();
    u32::try_from(bits >> 32).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        assert!((FIRST / 2..=FIRST).contains(&backoff.pause()));
        for _ in 0..20 {
            assert!(backoff.pause() <= LONGEST);
        }
        assert!(backoff.pause() >= LONGEST / 2);
    }
}
