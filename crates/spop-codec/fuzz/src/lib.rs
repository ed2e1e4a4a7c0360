//! What the fuzz targets check, one module to a target. The targets themselves hand bytes in
//! and do nothing else.
//!
//! ```text
//! cargo xtask fuzz [--seconds N] [TARGET…]     builds and runs them
//! cargo run --example seeds                    writes seeds/ anew, after a change of format
//! ```
//!
//! `seeds/` holds the first inputs of each target, made from frames of real HAProxy versions.
//! What a run finds worth keeping goes to `corpus/`, which stays out of the repository; an
//! input that fails goes to `artifacts/`, and becomes a test of the codec.

mod by_the_text;
pub mod connection;
pub mod frame;
pub mod haproxy;
mod memory;
pub mod message;
pub mod pair;
pub mod reassembly;
mod script;
pub mod value;
pub mod varint;
