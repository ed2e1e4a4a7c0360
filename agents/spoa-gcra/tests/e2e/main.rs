//! End to end: HTTP requests through a real HAProxy to a real agent, over the memory store and
//! over real Valkeys, looked at from where a client stands.
//!
//! Every test runs with each SPOP engine of HAProxy that this machine has: the one of the
//! distribution, and one from 3.1 on. No test depends on how fast the machine is: limits are
//! so slow that nothing refills meanwhile, or the test waits for what it was told to wait for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agents;
mod clients;
mod limits;
mod policies;
mod print_config;
mod rolling;
mod site;
mod valkeys;
