//! What may come of a fault, and what may not.

use tokio::time::Instant;

use crate::clients::{BURST, Client};
use crate::load::Asked;

/// What holds whatever this fault does, beyond what holds for every one.
pub(crate) struct Promise {
    /// What happens.
    pub(crate) fault: &'static str,
    /// What an operator may rely on.
    pub(crate) guarantee: &'static str,
    /// Whose clients may be on the failure policy meanwhile. All others must not notice.
    pub(crate) shards: &'static [usize],
    /// Of these only those that ask this agent, whose connections end. None: any agent's,
    /// and no connection ends.
    pub(crate) agent: Option<usize>,
    /// How many requests beyond burst + rate x time a client may be admitted.
    pub(crate) excess: u32,
    /// How often a client within its limit may be denied.
    pub(crate) denials: u32,
}

impl Promise {
    /// Nobody notices anything.
    pub(crate) const UNNOTICED: Self = Self {
        fault: "",
        guarantee: "",
        shards: &[],
        agent: None,
        excess: 0,
        denials: 0,
    };
    /// The clients of the first shard are on the failure policy for a while: one burst when
    /// the local limiter takes over, and one when Valkey takes back, which has counted
    /// nothing meanwhile.
    pub(crate) const FIRST_SHARD: Self = Self {
        shards: &[0],
        excess: 2 * BURST,
        ..Self::UNNOTICED
    };

    /// Whether it may be on the failure policy.
    pub(crate) fn concerns(&self, asked: &Asked, clients: &[Client]) -> bool {
        self.shards.contains(&clients[asked.client].shard)
            && self.agent.is_none_or(|agent| agent == asked.agent)
    }
}

/// When it happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) happened: Instant,
    /// When the agent could have had Valkey back.
    pub(crate) healed: Instant,
}
