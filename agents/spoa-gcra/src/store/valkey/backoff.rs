//! Pauses between attempts: doubling, bounded, and random, so that many agents do not come
//! back to a recovering server at the same instant.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pauses of one streak.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Between attempts to connect: 10 to 20 ms at first, 250 to 500 ms at last.
    pub(super) fn connecting() -> Self {
        Self {
            next: Duration::from_millis(20),
            longest: Duration::from_millis(500),
        }
    }

    /// Between questions whether a replica has been promoted: 25 to 50 ms at first, 125 to
    /// 250 ms at last.
    pub(super) fn watching() -> Self {
        Self {
            next: Duration::from_millis(50),
            longest: Duration::from_millis(250),
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = self.next.saturating_mul(2).min(self.longest);
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
        for (mut backoff, first, longest) in [
            (Backoff::connecting(), 20, 500),
            (Backoff::watching(), 50, 250),
        ] {
            let first = Duration::from_millis(first);
            let longest = Duration::from_millis(longest);
            assert!((first / 2..=first).contains(&backoff.pause()));
            for _ in 0..20 {
                assert!(backoff.pause() <= longest);
            }
            assert!(backoff.pause() >= longest / 2);
        }
    }
}
