//! What the engine decides about its connections, beyond the protocol's own settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spop_codec::{Actions, AgentConfig};

use crate::error::ServeError;

/// Limits and patience of [`serve`](crate::serve()). Every number has a default that suits
/// HAProxy's own defaults.
#[derive(Clone)]
pub struct Config {
    pub(crate) agent: AgentConfig,
    pub(crate) max_connections: usize,
    pub(crate) handler_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) lame_duck: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) failure_actions: Arc<dyn Fn(Failure) -> Actions + Send + Sync>,
}

/// Why a NOTIFY is answered by [`Config::with_failure_actions`] instead of by its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The handler did not answer within [`Config::with_handler_timeout`].
    Deadline,
    /// The handler panicked.
    Panic,
    /// The handler set a variable that HAProxy would not accept
    /// ([`spop_codec::ActionError`]).
    VoidActions,
    /// The answer exceeds what HAProxy can take
    /// ([`AgentConfig::with_max_ack_size`](spop_codec::AgentConfig::with_max_ack_size)).
    AckTooBig,
}

impl Failure {
    /// A word for it: `deadline`, `panic`, `void-actions`, `ack-too-big`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Panic => "panic",
            Self::VoidActions => "void-actions",
            Self::AckTooBig => "ack-too-big",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Config {
    /// The defaults, as each setter gives them.
    pub fn new() -> Self {
        Self {
            agent: AgentConfig::new(),
            max_connections: 4096,
            handler_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(5),
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
            failure_actions: Arc::new(|_| Actions::new()),
        }
    }

    /// Frame size, NOTIFYs in flight per connection, and the waits of the protocol.
    pub fn with_agent(mut self, agent: AgentConfig) -> Self {
        self.agent = agent;
        self
    }

    /// Connections open at once, 1 or more, default 4096. At the limit new ones wait in the
    /// kernel's accept queue.
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How long a NOTIFY may wait for its handler, from the read that brought it, before
    /// [`Failure::Deadline`] answers it; default 1 s. Keep it below HAProxy's
    /// `timeout processing`: versions up to 3.0 take a late ACK for the answer to the next
    /// event of the same stream.
    pub fn with_handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// How long the peer may take no byte of an answer before the connection is dropped,
    /// default 5 s.
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long health checks fail, while everything else goes on, before the listener
    /// closes at shutdown; default 0. HAProxy takes the server out meanwhile if this is more
    /// than its `inter` × `fall`.
    pub fn with_lame_duck(mut self, time: Duration) -> Self {
        self.lame_duck = time;
        self
    }

    /// How long requests in flight may take at shutdown before their connections are
    /// dropped, default 5 s.
    pub fn with_drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// What to answer when a handler gives nothing usable; default: no actions. Must not
    /// block. Actions that are void or too big themselves become an empty answer.
    pub fn with_failure_actions(
        mut self,
        actions: impl Fn(Failure) -> Actions + Send + Sync + 'static,
    ) -> Self {
        self.failure_actions = Arc::new(actions);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ServeError> {
        self.agent.validate()?;
        if self.max_connections == 0 {
            return Err(ServeError::NoConnections);
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("agent", &self.agent)
            .field("max_connections", &self.max_connections)
            .field("handler_timeout", &self.handler_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("lame_duck", &self.lame_duck)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}
