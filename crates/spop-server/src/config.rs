//! What the engine decides about its connections, beyond the protocol's own settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spop_codec::AgentConfig;

use crate::error::ServeError;
use crate::failure::FailurePolicy;
use crate::observe::Observer;

/// As many NOTIFYs as HAProxy has in flight on one connection.
const MIN_IN_FLIGHT: usize = 20;

/// Limits and patience of [`serve`](crate::serve()). Every number has a default that suits
/// HAProxy's own defaults. A time that is longer than the clock can count, as
/// [`Duration::MAX`] is, never ends.
#[derive(Clone)]
pub struct Config {
    pub(crate) agent: AgentConfig,
    pub(crate) max_connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) handler_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) lame_duck: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Config {
    /// The defaults, as each setter gives them.
    pub fn new() -> Self {
        Self {
            agent: AgentConfig::new(),
            max_connections: 4096,
            max_in_flight: 65_536,
            handler_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(5),
            keepalive: Some(Duration::from_secs(60)),
            max_connection_age: None,
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
            failure_policy: FailurePolicy::empty(),
            observer: None,
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

    /// Handlers that may wait at once in the whole process, 20 or more, default 65536. A
    /// NOTIFY beyond is answered with [`Failure::Overload`](crate::Failure::Overload), unless
    /// its handler is ready at once: only what waits takes memory.
    /// [`AgentConfig::with_max_in_flight`](spop_codec::AgentConfig::with_max_in_flight) is the
    /// limit for one connection.
    pub fn with_max_in_flight(mut self, handlers: usize) -> Self {
        self.max_in_flight = handlers;
        self
    }

    /// How long a NOTIFY may wait for its handler, from the read that brought it, before
    /// [`Failure::Deadline`](crate::Failure::Deadline) answers it; default 1 s. The handler is
    /// polled once more before, in case it is done or has an answer for that, too. Keep it below
    /// HAProxy's `timeout processing`: versions up to 3.0 take a late ACK for the answer to the
    /// next event of the same stream.
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

    /// After how much silence the kernel asks a TCP peer whether it is still there, default
    /// 60 s, `None` for never. A host that vanished without a word is then gone after about
    /// three minutes.
    pub fn with_keepalive(mut self, idle: Option<Duration>) -> Self {
        self.keepalive = idle;
        self
    }

    /// How old a connection may get, give or take a tenth at random, before it is closed at
    /// its next quiet moment; default `None`, for ever. HAProxy then connects anew, and a
    /// load balancer in between finds the replicas that came since.
    ///
    /// A NOTIFY that crosses the goodbye on its way is lost to HAProxy, which does not ask
    /// again. Leave it off, or hours long, unless something sits in between.
    pub fn with_max_connection_age(mut self, age: Option<Duration>) -> Self {
        self.max_connection_age = age;
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

    /// What to answer when a handler gives nothing usable; default: no actions. A policy
    /// whose actions are void or too big themselves becomes an empty answer.
    pub fn with_failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.failure_policy = policy;
        self
    }

    /// Who is told what happens, for metrics; default nobody.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// See [`with_agent`](Self::with_agent).
    pub const fn agent(&self) -> &AgentConfig {
        &self.agent
    }

    /// See [`with_max_connections`](Self::with_max_connections).
    pub const fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// See [`with_max_in_flight`](Self::with_max_in_flight).
    pub const fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// See [`with_handler_timeout`](Self::with_handler_timeout).
    pub const fn handler_timeout(&self) -> Duration {
        self.handler_timeout
    }

    /// See [`with_write_timeout`](Self::with_write_timeout).
    pub const fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// See [`with_keepalive`](Self::with_keepalive).
    pub const fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// See [`with_max_connection_age`](Self::with_max_connection_age).
    pub const fn max_connection_age(&self) -> Option<Duration> {
        self.max_connection_age
    }

    /// See [`with_lame_duck`](Self::with_lame_duck).
    pub const fn lame_duck(&self) -> Duration {
        self.lame_duck
    }

    /// See [`with_drain_timeout`](Self::with_drain_timeout). Shutdown takes this and the
    /// [`lame_duck`](Self::lame_duck) at most, which whoever stops the process should wait for.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let config = spop_server::Config::new().with_lame_duck(Duration::from_secs(7));
    /// let longest = config.lame_duck().saturating_add(config.drain_timeout());
    /// assert_eq!(longest, Duration::from_secs(12));
    /// ```
    pub const fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    pub(crate) fn validate(&self) -> Result<(), ServeError> {
        self.agent.validate()?;
        if self.max_connections == 0 {
            return Err(ServeError::NoConnections);
        }
        if self.max_in_flight < MIN_IN_FLIGHT {
            return Err(ServeError::MaxInFlight(self.max_in_flight));
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
            .field("max_in_flight", &self.max_in_flight)
            .field("handler_timeout", &self.handler_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("keepalive", &self.keepalive)
            .field("max_connection_age", &self.max_connection_age)
            .field("lame_duck", &self.lame_duck)
            .field("drain_timeout", &self.drain_timeout)
            .field("failure_policy", &self.failure_policy)
            .finish_non_exhaustive()
    }
}
