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
use super::primary::Primary;
use super::topology::Topology;

/// The queues to one primary. Dropping it ends its lanes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) info: ConnectionInfo,
    name: Arc<str>,
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
        let primary = Arc::new(Primary::new(&info, config)?);
        let lanes = (0..config.lanes)
            .map(|_| Lane::start(primary.clone(), topology.clone(), config))
            .collect();
        Ok(Self {
            info,
            name: primary.name.clone(),
            lanes,
            hasher: DefaultHashBuilder::default(),
        })
    }

    /// `host:port`
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Queues a job, always the same lane for the same slot. A full queue refuses it.
    pub(super) fn enqueue(&self, job: Job) {
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
                let node = self.name.clone();
                job.answer(Err(StoreError::Overloaded { node }));
            }
            Err(TrySendError::Closed(job)) => job.answer(Err(StoreError::Closed)),
        }
    }
}
