//! End to end: HTTP requests through real HAProxys, of each version that can be had, to an
//! agent on this crate, looked at from where a client stands and through HAProxy's log.
//!
//! No test depends on how fast the machine is: HAProxy waits 5 s for an answer, handlers are
//! held and released by the test, and what takes time is waited for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agent;
mod arguments;
mod disconnects;
mod failures;
mod health;
mod load;
mod max_age;
mod pipelining;
mod reload;
mod rolling;
mod site;
mod sizes;
