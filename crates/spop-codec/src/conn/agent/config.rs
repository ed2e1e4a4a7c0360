//! What an agent decides about its connections: sizes, capabilities and patience.

use core::time::Duration;

use crate::capability::Capabilities;
use crate::frame::MIN_FRAME_SIZE;

/// Settings of an [`AgentConnection`](super::AgentConnection); the defaults suit HAProxy's
/// own defaults (`tune.bufsize 16384`). Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    pub(super) max_frame_size: u32,
    pub(super) max_ack_size: u32,
    pub(super) max_in_flight: usize,
    pub(super) pipelining: bool,
    pub(super) fragmentation: Option<u32>,
    pub(super) hello_timeout: Duration,
    pub(super) frame_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

/// A setting outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// See [`AgentConfig::with_max_frame_size`].
    #[error("max-frame-size is {0}, not 256 to 16777216 bytes")]
    MaxFrameSize(u32),
    /// See [`AgentConfig::with_max_ack_size`].
    #[error("the largest ACK is {0}, not 64 bytes or more")]
    MaxAckSize(u32),
    /// See [`AgentConfig::with_max_in_flight`].
    #[error("in flight per connection is {0}, not 20 or more, HAProxy's own number")]
    MaxInFlight(usize),
    /// See [`AgentConfig::with_fragmentation`].
    #[error("the largest NOTIFY in fragments is {0}, not 256 to 16777216 bytes")]
    Fragmentation(u32),
}

impl AgentConfig {
    /// The largest max-frame-size that can be set, 16 MiB.
    pub const MAX_FRAME_SIZE: u32 = 1 << 24;

    /// The defaults, as each setter gives them.
    pub const fn new() -> Self {
        Self {
            max_frame_size: 16_380,
            max_ack_size: 800,
            max_in_flight: 64,
            pipelining: true,
            fragmentation: None,
            hello_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
        }
    }

    /// Largest frame to agree on, in bytes: 256 to 16 MiB, default 16380, HAProxy's own.
    /// Frames up to what HAProxy announced are accepted even if less was agreed on, within
    /// 64 KiB or this size if it is more, because HAProxy 3.1 sends them.
    pub const fn with_max_frame_size(mut self, bytes: u32) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Largest ACK in bytes on the wire when pipelining was agreed on, default 800.
    ///
    /// HAProxy 3.1 and later stall a connection for good when they find 16 KiB unread on
    /// it, and twenty answers may be waiting: 20 × 800 stays below. Without pipelining one
    /// answer waits at most, and the agreed max-frame-size is the limit.
    pub const fn with_max_ack_size(mut self, bytes: u32) -> Self {
        self.max_ack_size = bytes;
        self
    }

    /// NOTIFYs that may wait for their ACK before reading pauses: 20 or more, default 64.
    /// HAProxy sends 20 at a time, and more after requests timed out on its side.
    pub const fn with_max_in_flight(mut self, notifies: usize) -> Self {
        self.max_in_flight = notifies;
        self
    }

    /// Whether to announce pipelining, default yes. Without it HAProxy opens a connection
    /// for each request that waits.
    pub const fn with_pipelining(mut self, on: bool) -> Self {
        self.pipelining = on;
        self
    }

    /// Puts a NOTIFY in fragments together, of up to `max_bytes` of payload: 256 to 16 MiB.
    /// Off by default, and announced only when on.
    ///
    /// HAProxy up to 3.0 sends what exceeds the agreed max-frame-size in fragments to an
    /// agent that announces `fragmentation` (SPOE.txt §3.2.1 of those versions), and
    /// disconnects (10) from any other, hundreds of times for each such request, unless its
    /// configuration has `no option send-frag-payload`. Later versions know no fragments. Whatever exceeds
    /// `max_bytes` is answered by an ACK with ABORT. One connection keeps the fragments of
    /// one NOTIFY at most.
    pub const fn with_fragmentation(mut self, max_bytes: u32) -> Self {
        self.fragmentation = Some(max_bytes);
        self
    }

    /// How long a new connection may take for its HELLO, default 5 s.
    pub const fn with_hello_timeout(mut self, timeout: Duration) -> Self {
        self.hello_timeout = timeout;
        self
    }

    /// How long a frame, or a NOTIFY in fragments, may take from its first to its last
    /// byte, default 5 s.
    pub const fn with_frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// How long a connection may be silent, from its last frame on and with nothing in flight,
    /// default 10 min. Should be longer than HAProxy keeps idle connections, so that HAProxy
    /// closes first, and longer than handlers take.
    pub const fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// NOTIFYs that may wait for their ACK ([`with_max_in_flight`](Self::with_max_in_flight)).
    pub const fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub const fn validate(&self) -> Result<(), ConfigError> {
        if self.max_frame_size < MIN_FRAME_SIZE || self.max_frame_size > Self::MAX_FRAME_SIZE {
            return Err(ConfigError::MaxFrameSize(self.max_frame_size));
        }
        if self.max_ack_size < 64 {
            return Err(ConfigError::MaxAckSize(self.max_ack_size));
        }
        if self.max_in_flight < 20 {
            return Err(ConfigError::MaxInFlight(self.max_in_flight));
        }
        match self.fragmentation {
            Some(bytes) if bytes < MIN_FRAME_SIZE || bytes > Self::MAX_FRAME_SIZE => {
                Err(ConfigError::Fragmentation(bytes))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let when = |on, capability| if on { capability } else { Capabilities::NONE };
        when(self.pipelining, Capabilities::PIPELINING)
            | when(self.fragmentation.is_some(), Capabilities::FRAGMENTATION)
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self::new()
    }
}
