//! When NOTIFYs are due at a fixed rate. Pure: times are durations since the run began.

use std::time::Duration;

use fastrand::Rng;

/// The share of one connection in the arrivals of all.
///
/// Arrivals depend on nothing but the rate. An agent that is slow does not slow them down, so
/// that what a NOTIFY waits for it is part of the latency.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Seconds between two arrivals, on average with jitter.
    gap: f64,
    /// The first arrival, in seconds. The connections take turns.
    first: f64,
    /// Arrivals that were taken.
    taken: u64,
    next: Duration,
    jitter: Option<Rng>,
}

impl Schedule {
    /// Arrivals of connection number `connection` (from 0) of `connections` that share
    /// `per_second`: evenly spaced, or with `jitter` at random, as independent clients make
    /// them (a Poisson process).
    pub(super) fn new(
        per_second: u32,
        connections: u32,
        connection: u32,
        jitter: Option<Rng>,
    ) -> Self {
        let per_second = f64::from(per_second);
        let mut schedule = Self {
            gap: f64::from(connections) / per_second,
            first: f64::from(connection) / per_second,
            taken: 0,
            next: Duration::ZERO,
            jitter,
        };
        schedule.next = schedule.following();
        schedule
    }

    /// When the next arrival is due.
    pub(super) const fn next(&self) -> Duration {
        self.next
    }

    /// Takes the next arrival, if it is due by `now`.
    pub(super) fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.next;
        if due > now {
            return None;
        }
        self.taken += 1;
        self.next = self.following();
        Some(due)
    }

    fn following(&mut self) -> Duration {
        match &mut self.jitter {
            // Multiplied, not added up: a sum of rounded gaps would drift.
            None => Duration::from_secs_f64(self.first + self.gap * self.taken as f64),
            Some(rng) => {
                let gap = -self.gap * (1.0 - rng.f64()).ln();
                self.next + Duration::from_secs_f64(gap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrivals within the first second, in order.
    fn within_a_second(mut schedules: Vec<Schedule>) -> Vec<Duration> {
        let mut all = Vec::new();
        for schedule in &mut schedules {
            while let Some(due) = schedule.take(Duration::from_secs(1)) {
                all.push(due);
            }
            assert!(schedule.next() > Duration::from_secs(1));
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn connections_take_turns() {
        let even = |connection| Schedule::new(1000, 3, connection, None);
        let all = within_a_second((0..3).map(even).collect());
        assert_eq!(all.len(), 1001, "both ends are in");
        for (number, due) in all.iter().enumerate() {
            let expected = Duration::from_millis(number as u64);
            assert!(due.abs_diff(expected) < Duration::from_nanos(10), "{due:?}");
        }
    }

    #[test]
    fn nothing_before_it_is_due() {
        let mut schedule = Schedule::new(1000, 1, 0, None);
        assert_eq!(schedule.take(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(schedule.next(), Duration::from_millis(1));
        assert_eq!(schedule.take(Duration::from_micros(999)), None);
        let due = schedule.take(Duration::from_secs(9));
        assert_eq!(due, Some(Duration::from_millis(1)), "late, but not lost");
    }

    #[test]
    fn jitter_keeps_the_rate() {
        let jittered = |seed| {
            let random = |connection| {
                let rng = Rng::with_seed(seed + u64::from(connection));
                Schedule::new(100_000, 4, connection, Some(rng))
            };
            within_a_second((0..4).map(random).collect())
        };
        let all = jittered(1);
        // The deviation of a Poisson process with 100 000 expected is 316.
        assert!((98_000..102_000).contains(&all.len()), "{}", all.len());
        let gaps = all.windows(2).map(|pair| pair[1] - pair[0]);
        let short = gaps.filter(|gap| *gap < Duration::from_micros(10)).count();
        let share = short as f64 / all.len() as f64;
        assert!((0.62..0.65).contains(&share), "1 - 1/e, not {share}");
        assert_eq!(all, jittered(1));
        assert_ne!(all, jittered(2));
    }
}
