//! What ships for containers, run: the agent's image, the compose files, the manifests.
//!
//! The rate limiter's image is the one that `cargo xtask image` makes, release build and all.
//! Images of HAProxy and Valkey are made of this machine's programs, as no registry is asked.
//! Each test has a container engine of its own, with a network of its own, which ends with the
//! test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agent;
mod agents_replaced;
mod cluster;
mod compose;
mod images;
mod ip_reputation;
mod kube;
mod primaries;
mod site;
