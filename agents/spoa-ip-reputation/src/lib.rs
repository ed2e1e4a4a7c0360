//! A score for each client's address, from lists of networks: the parts of the
//! `spoa-ip-reputation` command, which are also a short example of a whole agent.
//!
//! [`check_ip`] answers HAProxy, from the [`lists`], which [`watch`] keeps up to date; a
//! [`table`] is what they become in memory.

#![forbid(unsafe_code)]

pub mod check_ip;
pub mod lists;
pub mod metrics;
pub mod table;
pub mod watch;
