//! The shared store: limiter state in a Valkey server or cluster.
//!
//! One decision is one run of a script ([`SCRIPT`], or [`SCRIPT_ALL`] for several limits) on
//! the primary that owns the client's hash slot, by that server's clock. So the limit is exact
//! whichever agent, and however many, ask for the same client, and no agent's clock matters.
//!
//! ```text
//!  Check ──▶ ValkeyStore ──▶ topology ──▶ node ──▶ lane ══ EVALSHA EVALSHA … ══▶ primary
//!            key, slot       slot map     queue    task that owns a              gcra.lua
//!                            (arc-swap)            pooled connection
//!               ▲                ▲                    │
//!  Verdict ◀────┴── rooms in µs ─│────────────────────┤ numbers
//!                                │                    │ NOSCRIPT: again, with the text
//!                                └─ MOVED, ASK ───────┤ to another node's queue
//!                                                     ▼ anything else: StoreError
//! ```
//!
//! * **The map.** [`ValkeyStore::connect`] returns at once. A background task asks the given
//!   nodes what they are part of: a single server is treated as the primary of all slots.
//!   The map is renewed when a redirection or a lost connection says that it is old, every
//!   ten seconds, and several times a second while a primary of a cluster is away, since its
//!   replica may be promoted any moment. A node that has missed a change of the cluster is
//!   not believed while another one knows better.
//! * **Lanes.** A lane writes whatever has queued as one pipeline, up to 64 checks, with up
//!   to 8 pipelines on their way. Equal checks in it become one command. Each reply is judged
//!   by itself, so one moved slot or one missing script costs only the checks it concerns.
//! * **Moving slots.** Redirections are followed. Only a check of several limits gets an error
//!   while its slot moves key by key, unless all of its keys exist and are in one place: the
//!   servers answer `TRYAGAIN` to commands of several keys that are not.
//! * **Time.** A check whose deadline has passed is not sent. One that was sent is not sent
//!   again after an error, because it may have been counted.
//! * **Bounds.** 4096 checks wait for a lane, the next is [`StoreError::Overloaded`].
//! * **Failure.** Every check is answered, at the latest when the node's budget is over.
//!   Each primary has a circuit breaker ([`BreakerState`]). It opens when an attempt to
//!   connect fails, when half of at least 20 pipelines within 200 ms go unanswered, and when
//!   a node answers nothing for 50 ms (or for the budget, if that is longer) although
//!   something was asked; an idle node is asked four times a second whether it is there.
//!   From then on its checks are refused at once, those that wait in a queue too, until a
//!   new connection has been made and has answered; the next attempt at one is 10 to 500 ms
//!   away, never in step with other agents. Only after a connection was closed, as by a
//!   restart, do checks wait for the first attempt at another one. Other primaries are not
//!   affected. It is logged once when a node is lost and once when it is back.
//!
//! The user that asks needs the rights `+info +cluster|slots +evalsha +eval +asking` and, on
//! keys `gcra:*`, `+get +set +time`; for [`Call::Fcall`], `+fcall +function|load` in place of
//! `+evalsha +eval`. With `+script|load +ping +cluster|info +client|setinfo` nothing is asked
//! for in vain: without them, scripts are sent along when they are missing, that `PING` is
//! refused is taken for a sign of life, all nodes of a cluster are believed alike, and
//! connections have no name in `CLIENT LIST`. The credentials and certificates ([`Tls`]) that
//! a node was given with are used for those that it names.

mod backoff;
mod batch;
mod breaker;
mod config;
mod connector;
mod error;
mod job;
mod lane;
mod layout;
mod node;
mod primary;
mod rehearsal;
mod renewal;
mod script;
#[cfg(feature = "otel")]
pub(crate) mod span;
mod tls;
mod topology;
mod watchdog;

pub use breaker::BreakerState;
pub use config::{Config, MAX_BATCH, MAX_BUDGET, MAX_LANES, MAX_PIPELINES, MAX_TTL};
pub use error::{ConfigError, StoreError};
pub use primary::PrimaryState;
pub use rehearsal::Rehearsal;
pub use script::{Call, SCRIPT, SCRIPT_ALL, UnknownCall};
pub use tls::{Tls, TlsError};

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use redis::ConnectionInfo;
use tokio::sync::oneshot;
use tower_service::Service;

use self::job::Job;
use self::topology::Topology;
use super::{Check, Rooms, Source, Verdict};

/// A handle on the store. Clones share it; dropping the last one closes its connections.
#[derive(Debug, Clone)]
pub struct ValkeyStore {
    topology: Arc<Topology>,
}

impl ValkeyStore {
    /// Starts to use the server, or the cluster, that `nodes` belong to. Several nodes must
    /// be of one cluster; any that answers will do. Connects in the background: until then,
    /// and whenever Valkey is away, checks fail fast.
    ///
    /// # Errors
    /// If `nodes` or `config` cannot be used. Never because a node does not answer.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// ```
    /// use spoa_gcra::store::valkey::{Config, ValkeyStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = "redis://127.0.0.1:6379".parse()?;
    /// let store = ValkeyStore::connect(vec![node], Config::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(nodes: Vec<ConnectionInfo>, config: Config) -> Result<Self, ConfigError> {
        config.validate(&nodes)?;
        tls::provide_cryptography();
        let nodes = nodes
            .into_iter()
            .map(connector::with_socket_options)
            .collect();
        Ok(Self {
            topology: Topology::start(nodes, config),
        })
    }

    /// The primaries in use, as they are now: none until a node has answered.
    pub fn primaries(&self) -> Vec<PrimaryState> {
        self.topology.primaries()
    }

    /// How often the map was read since the start.
    pub fn map_renewals(&self) -> u64 {
        self.topology.renewals.load(Ordering::Relaxed)
    }
}

/// Always ready: what cannot be taken on is answered with [`StoreError::Overloaded`].
impl Service<Check> for ValkeyStore {
    type Response = Verdict;
    type Error = StoreError;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, check: Check) -> Answer {
        match Job::new(check) {
            Ok((job, verdict)) => {
                self.topology.route(job);
                Answer(Progress::Asked(verdict))
            }
            Err(unlimited) => {
                let verdict = Rooms::default().verdict(&unlimited, 0, Source::Valkey);
                Answer(Progress::Known(verdict))
            }
        }
    }
}

/// The verdict on one check, still to come. Dropping it before the check was sent takes the
/// check back.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Answer(Progress);

#[derive(Debug)]
enum Progress {
    Known(Verdict),
    Asked(oneshot::Receiver<Result<Verdict, StoreError>>),
}

impl Future for Answer {
    type Output = Result<Verdict, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Known(verdict) => Poll::Ready(Ok(*verdict)),
            // Only a runtime that is shutting down drops a job unanswered.
            Progress::Asked(verdict) => Pin::new(verdict)
                .poll(cx)
                .map(|verdict| verdict.unwrap_or(Err(StoreError::Closed))),
        }
    }
}
