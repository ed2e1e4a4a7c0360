//! Connection state without a connection: bytes and the time go in, events and bytes come
//! out. No socket, no clock, no sleep.

mod agent;
mod haproxy;

pub use agent::{AckOutcome, AckTicket, AgentConfig, AgentConnection, Closed, ConfigError, Event};
pub use haproxy::{HaproxyClosed, HaproxyConfig, HaproxyConnection, HaproxyEvent, NotifyError};

/// Frames of unassigned types that one connection may send in its life.
const UNKNOWN_FRAMES: u32 = 1000;
