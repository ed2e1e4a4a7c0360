//! The parts of a run, which all its connections go through together: they send, then wait
//! for what is in flight, then end.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const SENDING: u8 = 0;
const DRAINING: u8 = 1;
const ABANDONED: u8 = 2;

/// When the run began, when measuring begins, and whether it is over.
#[derive(Debug)]
pub(super) struct Timeline {
    begin: Instant,
    /// From when on latencies count, since the beginning: the warm-up.
    pub(super) measured_from: Duration,
    /// How long an answer, and each of the last two parts, may take.
    pub(super) timeout: Duration,
    part: AtomicU8,
}

impl Timeline {
    /// Begins now.
    pub(super) fn new(measured_from: Duration, timeout: Duration) -> Self {
        Self {
            begin: Instant::now(),
            measured_from,
            timeout,
            part: AtomicU8::new(SENDING),
        }
    }

    /// Time since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The moment `time` after the beginning.
    pub(super) fn at(&self, time: Duration) -> Instant {
        self.begin + time
    }

    /// Ends the sending.
    pub(super) fn stop(&self) {
        self.part.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// Ends the run without waiting for what is in flight.
    pub(super) fn abandon(&self) {
        self.part.fetch_max(ABANDONED, Ordering::Relaxed);
    }

    pub(super) fn is_sending(&self) -> bool {
        self.part.load(Ordering::Relaxed) == SENDING
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.part.load(Ordering::Relaxed) == ABANDONED
    }
}
