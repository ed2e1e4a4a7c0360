//! The shared store: limiter state in a Valkey server or cluster.
//!
//! One decision is one run of a script ([`SCRIPT`], or [`SCRIPT_ALL`] for several limits) on
//! the primary that owns the client's hash slot, by that server's clock. So the limit is exact whichever agent, and however
//! many, ask for the same client, and no agent's clock matters.
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
//!   The map is renewed when a redirection or a lost connection says that it is old, and
//!   every ten seconds.
//! * **Lanes.** A lane writes whatever has queued as one pipeline, up to 64 checks, with up
//!   to 8 pipelines on their way. Equal checks in it become one command. Each reply is judged by itself, so one moved slot or one
//!   missing script costs only the checks it concerns.
//! * **Time.** A check whose deadline has passed is not sent. One that was sent is not sent
//!   again after an error, because it may have been counted.
//! * **Bounds.** 4096 checks wait for a lane, the next is [`StoreError::Overloaded`].
//! * **Failure.** Every check is answered, at the latest when the node's budget is over.
//!   While a node cannot be reached, its checks are refused at once. It is logged once when
//!   a node is lost and once when it is back. A node that answers nothing for 100 ms is
//!   taken to be lost.
//!
//! The user that the URLs name needs `+info +cluster|slots +script|load +evalsha +eval
//! +asking` and, on keys `gcra:*`, `+get +set +time`. Nodes that a cluster advertises get
//! the credentials of the URL that led to them.

mod backoff;
mod batch;
mod config;
mod error;
mod job;
mod lane;
mod layout;
mod node;
mod primary;
mod script;
mod topology;

pub use config::{Config, MAX_BATCH, MAX_BUDGET, MAX_LANES, MAX_PIPELINES, MAX_TTL};
pub use error::{ConfigError, StoreError};
pub use script::{SCRIPT, SCRIPT_ALL};

use std::pin::Pin;
use std::sync::Arc;
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
        let nodes = nodes
            .into_iter()
            .map(primary::with_socket_options)
            .collect();
        Ok(Self {
            topology: Topology::start(nodes, config),
        })
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
