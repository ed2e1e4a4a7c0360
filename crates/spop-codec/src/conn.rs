//! Connection state without a connection: bytes and the time go in, events and bytes come
//! out. No socket, no clock, no sleep.

mod agent;
mod config;

pub use agent::{AckOutcome, AckTicket, AgentConnection, Closed, Event};
pub use config::{AgentConfig, ConfigError};
