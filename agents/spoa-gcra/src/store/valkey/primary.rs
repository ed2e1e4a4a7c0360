//! A primary as its lanes see it: its breaker, the way to a connection, and counts.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisError};
use spop_server::admin::{Histogram, HistogramCounts};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use super::breaker::{Breaker, BreakerState, Exchanges};
use super::config::Config;
use super::connector::{Connections, PooledLink};
use super::error::StoreError;
use super::layout::host_of;
use super::topology::Topology;
use super::watchdog::silence;

/// Bounds for the checks of a pipeline, up to the default [`Config::batch`].
const BATCH_CHECKS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bounds for the time of an answer, in ns; the budget is 8 ms unless somebody sets it.
const ANSWER_NANOS: [u64; 11] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
];

/// One primary, shared by its lanes.
#[derive(Debug)]
pub(super) struct Primary {
    /// `host:port`, for texts and as its identity.
    pub(super) name: Arc<str>,
    /// The host alone, which redirections may leave out.
    pub(super) host: Box<str>,
    /// How long it has to be silent for that to mean something.
    pub(super) silence: Duration,
    pub(super) counts: Counts,
    connections: Connections,
    /// One attempt to connect at a time, whichever lane makes it.
    turn: tokio::sync::Mutex<()>,
    breaker: Mutex<Breaker>,
    /// The breaker is not closed.
    refusing: AtomicBool,
    /// The same, for those who wait.
    refusal: watch::Sender<bool>,
    /// How often the breaker has opened: connections from before are no good.
    openings: AtomicU32,
    /// A lane's connection, for questions about the cluster.
    open: Mutex<Option<MultiplexedConnection>>,
    topology: Weak<Topology>,
}

/// One primary, as it is at one moment; for metrics. Counts begin when it joins the map.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PrimaryState {
    /// `host:port`, as the cluster advertises it.
    pub node: Arc<str>,
    /// What happens to its checks now.
    pub breaker: BreakerState,
    /// When the breaker came to that.
    pub since: Instant,
    /// Checks that wait to be sent.
    pub queued: usize,
    /// Checks sent; one that has to be sent again counts again.
    pub sent: u64,
    /// Checks that were taken on and got an error instead of a decision: from the node, or
    /// because it did not answer in time, or because they were too late to be sent.
    pub failed: u64,
    /// Checks refused because the breaker was not closed.
    pub refused: u64,
    /// Connections made. More than there are lanes: some were lost.
    pub connections: u64,
    /// Checks of each pipeline that was sent.
    pub batch_checks: HistogramCounts,
    /// How long the answer to each pipeline took, in ns; of those that got one.
    pub answer_nanos: HistogramCounts,
}

/// What happened since the start.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) batch_checks: Histogram,
    pub(super) answer_nanos: Histogram,
    pub(super) failed: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
    /// Exchanges with an answer in time.
    answered: AtomicU64,
    /// Exchanges without.
    unanswered: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            sent: AtomicU64::default(),
            batch_checks: Histogram::new(&BATCH_CHECKS),
            answer_nanos: Histogram::new(&ANSWER_NANOS),
            failed: AtomicU64::default(),
            refused: AtomicU64::default(),
            connections: AtomicU64::default(),
            answered: AtomicU64::default(),
            unanswered: AtomicU64::default(),
        }
    }
}

impl Counts {
    pub(super) fn add(count: &AtomicU64, more: usize) {
        count.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Primary {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If redis-rs refuses the address.
    pub(super) fn new(
        info: &ConnectionInfo,
        config: &Config,
        topology: Weak<Topology>,
    ) -> Result<Self, RedisError> {
        Ok(Self {
            name: info.addr().to_string().into(),
            host: host_of(info).into(),
            silence: silence(config.budget),
            counts: Counts::default(),
            connections: Connections::new(info, config)?,
            turn: tokio::sync::Mutex::default(),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            refusing: AtomicBool::new(false),
            refusal: watch::Sender::default(),
            openings: AtomicU32::new(0),
            open: Mutex::default(),
            topology,
        })
    }

    /// Whether checks are refused now.
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Whether there is a connection, and checks are not refused.
    pub(super) fn is_answering(&self) -> bool {
        !self.is_refusing() && self.connection().is_some()
    }

    /// Waits until checks are refused.
    pub(super) async fn refuses(&self) {
        // The sender is here: it cannot be gone.
        let _ = self
            .refusal
            .subscribe()
            .wait_for(|&refusing| refusing)
            .await;
    }

    /// How often the breaker has opened. A connection is good as long as that does not
    /// change.
    pub(super) fn openings(&self) -> u32 {
        self.openings.load(Ordering::Relaxed)
    }

    /// What a refused check is answered.
    pub(super) fn refusal(&self) -> StoreError {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        StoreError::Unreachable {
            node: self.name.clone(),
        }
    }

    /// The state, with `queued` checks in its lanes' queues.
    pub(super) fn state(&self, queued: usize) -> PrimaryState {
        let breaker = self.breaker();
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PrimaryState {
            node: self.name.clone(),
            breaker: breaker.state(),
            since: breaker.since(),
            queued,
            sent: counted(&self.counts.sent),
            failed: counted(&self.counts.failed),
            refused: counted(&self.counts.refused),
            connections: counted(&self.counts.connections),
            batch_checks: self.counts.batch_checks.read(),
            answer_nanos: self.counts.answer_nanos.read(),
        }
    }

    /// A connection over which it can be asked what it is part of, if there is one.
    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone()
    }

    /// A connection for a lane to keep, however long that takes, and the
    /// [`openings`](Self::openings) that it is good for.
    pub(super) async fn connect(&self) -> (PooledLink, u32) {
        let _turn = self.turn.lock().await;
        loop {
            let due = self.breaker().attempt_at();
            if due > Instant::now() {
                sleep_until(due.into()).await;
            }
            self.change("", Breaker::attempting);
            match self.attempt().await {
                Ok(link) => {
                    self.counts.connections.fetch_add(1, Ordering::Relaxed);
                    self.keep(Some(link.connection.clone()));
                    self.change("", Breaker::connected);
                    return (link, self.openings());
                }
                Err(reason) => self.change(&reason, Breaker::attempt_failed),
            }
        }
    }

    /// One attempt. Checks wait for it as long as they would for an answer.
    async fn attempt(&self) -> Result<PooledLink, Arc<str>> {
        let made = self.connections.make();
        tokio::pin!(made);
        tokio::select! {
            made = &mut made => return made,
            () = sleep(self.silence) => {
                self.change("no answer to connecting", Breaker::attempt_overdue);
            }
        }
        made.await
    }

    /// An exchange was answered.
    pub(super) fn answered(&self) {
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// An exchange was not answered in time.
    pub(super) fn unanswered(&self) {
        let failed = self.counts.unanswered.fetch_add(1, Ordering::Relaxed);
        let exchanges = Exchanges {
            answered: self.counts.answered.load(Ordering::Relaxed),
            failed: failed.saturating_add(1),
        };
        self.change(
            "too many checks without an answer in time",
            |breaker, now| {
                breaker.exchange_failed(exchanges, now);
            },
        );
    }

    /// A connection was silent although an answer was due.
    pub(super) fn silent(&self) {
        self.change("no answers", Breaker::silent);
    }

    /// A connection that was made at `made` was closed or reset.
    pub(super) fn reset(&self, made: Instant) {
        self.keep(None);
        self.change("connections do not last", |breaker, now| {
            breaker.reset(made, now);
        });
        info!(node = %self.name, "a connection to Valkey was closed");
        // Who closes connections may not be the primary for long.
        self.refresh();
    }

    /// Tells the breaker something, and everybody what it makes of that: it is logged once
    /// when the primary is lost and once when it is back, one as loud as the other.
    fn change(&self, reason: &str, tell: impl FnOnce(&mut Breaker, Instant)) {
        let mut breaker = self.breaker();
        let before = breaker.state();
        let first = !breaker.was_connected();
        tell(&mut breaker, Instant::now());
        let (refused, refuses) = (is_refusing(before), is_refusing(breaker.state()));
        if refused == refuses {
            if first && breaker.was_connected() {
                info!(node = %self.name, "connected to Valkey");
            }
            return;
        }
        if refuses {
            self.openings.fetch_add(1, Ordering::Relaxed);
            self.keep(None);
            warn!(node = %self.name, reason, "Valkey does not answer; its clients are on the failure policy");
        } else {
            warn!(node = %self.name, "connected to Valkey; its clients are off the failure policy");
        }
        self.refusing.store(refuses, Ordering::Relaxed);
        self.refusal.send_replace(refuses);
        drop(breaker);
        // One that is lost may have a successor, and one that is back can be asked again.
        self.refresh();
    }

    fn refresh(&self) {
        if let Some(topology) = self.topology.upgrade() {
            topology.refresh(None);
        }
    }

    fn keep(&self, connection: Option<MultiplexedConnection>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_refusing(state: BreakerState) -> bool {
    state != BreakerState::Closed
}
