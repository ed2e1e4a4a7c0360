//! A primary as the topology sees it: the queues of its lanes.

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use hashbrown::DefaultHashBuilder;
use redis::{ConnectionInfo, RedisError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::config::Config;
use super::error::StoreError;
use super::job::Job;
use super::lane::Lane;
use super::primary::{Primary, PrimaryState};
use super::topology::Topology;

/// The queues to one primary. Dropping it ends its lanes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) info: ConnectionInfo,
    pub(super) primary: Arc<Primary>,
    lanes: Vec<mpsc::Sender<Job>>,
    hasher: DefaultHashBuilder,
}

impl Node {
    /// Starts the node's lanes, which connect by themselves.
    ///
    /// # Errors
    /// If redis-rs refuses the address.
    pub(super) fn start(
        info: ConnectionInfo,
        config: &Config,
        topology: Weak<Topology>,
    ) -> Result<Self, RedisError> {
        let primary = Arc::new(Primary::new(&info, config, topology.clone())?);
        let lanes = (0..config.lanes)
            .map(|_| Lane::start(primary.clone(), topology.clone(), config))
            .collect();
        Ok(Self {
            info,
            primary,
            lanes,
            hasher: DefaultHashBuilder::default(),
        })
    }

    /// `host:port`
    pub(super) fn name(&self) -> &str {
        &self.primary.name
    }

    /// What there is to be said about it now.
    pub(super) fn state(&self) -> PrimaryState {
        let queued = |lane: &mpsc::Sender<Job>| lane.max_capacity().saturating_sub(lane.capacity());
        self.primary.state(self.lanes.iter().map(queued).sum())
    }

    /// Queues a job, always the same lane for the same slot. A full queue refuses it, and so
    /// does an open breaker.
    pub(super) fn enqueue(&self, job: Job) {
        if self.primary.is_refusing() {
            return job.answer(Err(self.primary.refusal()));
        }
        let lane = match self.lanes.as_slice() {
            [only] => Some(only),
            lanes => {
                let hash = usize::try_from(self.hasher.hash_one(job.slot) >> 32).unwrap_or(0);
                hash.checked_rem(lanes.len()).and_then(|at| lanes.get(at))
            }
        };
        let Some(lane) = lane else {
            return job.answer(Err(StoreError::Closed));
        };
        match lane.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => {
                let node = self.primary.name.clone();
                job.answer(Err(StoreError::Overloaded { node }));
            }
            Err(TrySendError::Closed(job)) => job.answer(Err(StoreError::Closed)),
        }
    }
}
