//! What `cargo xtask image` writes, read again by other libraries, by podman and by a
//! registry.
//!
//! The program inside is a few bytes here: that the agent's own runs in a container is seen by
//! the tests that start containers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agent;
mod containerfile;
#[cfg(feature = "e2e")]
mod load;
mod opened;
#[cfg(feature = "e2e")]
mod push;
mod sbom;
mod tree;
