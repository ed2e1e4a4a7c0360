//! Runs a Valkey server, or a cluster of them, in memory on free loopback ports.
//!
//! A node can be killed, frozen and restarted; [`Setup`] also puts a [`Link`](crate::link::Link)
//! in front of each node of a cluster and a [`Clock`] of its own into it.

mod clock;
mod cluster;
mod server;

pub use clock::Clock;
pub use cluster::{Cluster, Setup};
pub use server::Server;

use std::time::Duration;

/// A server answers within about 50 ms and a cluster forms within about 2.5 s; the rest is
/// for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
