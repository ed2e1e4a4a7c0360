//! Real HAProxy and Valkey processes for tests and for the demo.
//!
//! Not published, and no library depends on it. [`tools`] finds the programs or unpacks
//! them below `target/tools`; [`haproxy`], [`valkey`] and [`agent`] run them on free
//! loopback ports and end them when dropped; [`link`] is a network between two of them that
//! can fail; [`web`] is what HAProxy protects, and [`http`] the client that looks at the
//! result; [`browser`] looks at pages as their readers do. [`Scratch`] is where files are put
//! that are to go with the process.

pub mod agent;
pub mod browser;
pub mod containers;
mod debian;
pub mod haproxy;
pub mod http;
pub mod link;
pub mod port;
pub mod process;
mod scratch;
pub mod tools;
pub mod valkey;
pub mod web;

pub use scratch::Scratch;
