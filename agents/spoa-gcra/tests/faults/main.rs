//! Faults of a real Valkey cluster, of the network and of the agent, under load through the
//! real agent process: whatever happens, every NOTIFY has its answer in time, shards that
//! nothing happened to do not notice, no client gets more than its limit and a stated
//! excess, and all is well again without a restart.
//!
//! `cargo xtask faults` runs these tests and prints their report as a table. What the rules
//! are, each fault's own excess included, is in [`outcome`]; a test says only what happens.
//!
//! The machine may be busy: an answer counts only if none of the processes that take part
//! waited for a processor meanwhile ([`machine`]), and nothing depends on how fast it is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agents;
mod clients;
mod load;
mod machine;
mod network;
mod outcome;
mod promise;
mod servers;
mod site;
mod slots;
mod state;
