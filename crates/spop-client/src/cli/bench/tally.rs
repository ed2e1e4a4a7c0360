//! What is counted while a run lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use super::load::{Answer, Queued};

/// Three digits: a latency of 123.4 µs counts as 123 µs.
const DIGITS: u8 = 3;

/// Longest latency that is told from longer ones, in nanoseconds: 100 s.
const LONGEST: u64 = 100_000_000_000;

/// Counts of the whole run, warm-up included. Of the NOTIFYs sent, each is answered, late or
/// missing in the end.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// ACKs within the timeout.
    pub(super) answered: u64,
    /// ACKs after the timeout.
    pub(super) late: u64,
    /// NOTIFYs without an ACK on connections that have ended.
    pub(super) missing: u64,
    /// ACKs that answer nothing.
    pub(super) unexpected: u64,
    /// ACKs without an action.
    pub(super) empty: u64,
    /// NOTIFYs sent after their due time because the window was full.
    pub(super) held_back: u64,
    /// NOTIFYs that were due at the end and not sent, because the window was full.
    pub(super) unsent: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
    /// In nanoseconds, of the NOTIFYs that were due after the warm-up.
    pub(super) latency: Histogram<u64>,
    /// Why connections ended before they should have, and how many for that reason.
    pub(super) failures: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            sent: 0,
            answered: 0,
            late: 0,
            missing: 0,
            unexpected: 0,
            empty: 0,
            held_back: 0,
            unsent: 0,
            bytes_out: 0,
            bytes_in: 0,
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS)?,
            failures: BTreeMap::new(),
        })
    }

    pub(super) const fn queued(&mut self, queued: Queued) {
        self.sent += queued.notifies;
        self.held_back += queued.held_back;
    }

    /// Counts an ACK. Its latency is kept if the NOTIFY was due at `measured_from` or later.
    pub(super) fn answer(&mut self, answer: Answer, measured_from: Duration) {
        let latency = match answer {
            Answer::InTime(latency) => {
                self.answered += 1;
                latency
            }
            Answer::Late(latency) => {
                self.late += 1;
                latency
            }
            Answer::Unexpected => {
                self.unexpected += 1;
                return;
            }
        };
        if latency.due >= measured_from {
            let nanos = u64::try_from(latency.time.as_nanos()).unwrap_or(u64::MAX);
            self.latency.saturating_record(nanos);
        }
    }

    pub(super) fn failed(&mut self, why: &impl ToString) {
        *self.failures.entry(why.to_string()).or_default() += 1;
    }

    /// What the agent did wrong, so far as it shows.
    pub(super) fn faults(&self) -> u64 {
        self.late + self.missing + self.unexpected + self.failed_connections()
    }

    /// Connections that ended before they should have.
    pub(super) fn failed_connections(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what another thread counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.late += other.late;
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.empty += other.empty;
        self.held_back += other.held_back;
        self.unsent += other.unsent;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        for each in other.latency.iter_recorded() {
            let (nanos, count) = (each.value_iterated_to(), each.count_at_value());
            self.latency.saturating_record_n(nanos, count);
        }
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
    }
}

/// A tally that the connections of a thread write to while the command reads it.
#[derive(Debug, Clone)]
pub(super) struct SharedTally(Arc<Mutex<Tally>>);

impl SharedTally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self(Arc::new(Mutex::new(Tally::new()?))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tally> {
        // A number is right or one short whatever happened to the thread that wrote it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Latency;
    use super::*;

    fn latency(due: u64, micros: u64) -> Latency {
        Latency {
            due: Duration::from_secs(due),
            time: Duration::from_micros(micros),
        }
    }

    #[test]
    fn latencies_of_the_warm_up_are_not_kept() {
        let mut tally = Tally::new().unwrap();
        let from = Duration::from_secs(1);
        tally.answer(Answer::InTime(latency(0, 9999)), from);
        tally.answer(Answer::InTime(latency(1, 100)), from);
        tally.answer(Answer::Late(latency(2, 200)), from);
        tally.answer(Answer::Unexpected, from);
        let counts = (tally.answered, tally.late, tally.unexpected);
        assert_eq!(counts, (2, 1, 1));
        assert_eq!(tally.latency.len(), 2);
        let kept = |micros: u64| tally.latency.count_at(micros * 1000);
        assert_eq!((kept(100), kept(200)), (1, 1));
    }

    #[test]
    fn merged() {
        let count = |micros, why: &str| {
            let mut tally = Tally::new().unwrap();
            tally.queued(Queued {
                notifies: 2,
                held_back: 1,
            });
            tally.answer(Answer::InTime(latency(1, micros)), Duration::ZERO);
            tally.failed(&why);
            tally
        };
        let mut all = count(100, "closed");
        all.merge(&count(u64::MAX / 1000, "closed"));
        all.merge(&count(300, "reset"));
        assert_eq!((all.sent, all.held_back, all.answered), (6, 3, 3));
        assert_eq!(all.latency.len(), 3);
        assert!(all.latency.max() >= LONGEST, "kept as the longest");
        assert_eq!(all.failures["closed"], 2);
        assert_eq!(all.failed_connections(), 3);
    }
}
