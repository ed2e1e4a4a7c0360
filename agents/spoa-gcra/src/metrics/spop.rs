//! What the engine tells: HAProxy's connections, and the NOTIFYs that came over them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spop_server::{ConnectionEnd, Failure, Observer, Peer};

/// Counts since the start, for [`Config::with_observer`](spop_server::Config::with_observer).
#[derive(Debug, Default)]
pub struct SpopCounts {
    accepted: AtomicU64,
    closed: AtomicU64,
    notifies: AtomicU64,
    failed: AtomicU64,
}

impl SpopCounts {
    /// Connections accepted, health checks included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        // In this order: one that comes and goes in between is not counted as negative.
        let closed = self.closed.load(Ordering::Acquire);
        self.accepted().saturating_sub(closed)
    }

    /// NOTIFYs taken in.
    pub fn notifies(&self) -> u64 {
        self.notifies.load(Ordering::Relaxed)
    }

    /// Those of them that were answered without a decision, by the engine.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Observer for SpopCounts {
    fn accepted(&self, _peer: &Peer) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&self, _end: &ConnectionEnd, _in_flight: usize) {
        self.closed.fetch_add(1, Ordering::Release);
    }

    fn received(&self) {
        self.notifies.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self, failure: Option<Failure>, _elapsed: Duration) {
        if failure.is_some() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
