//! A score for each client's address, from lists of networks: the parts of the
//! `spoa-ip-reputation` command, which are also a short example of a whole agent.
//!
//! [`check_ip`] answers HAProxy, from the [`lists`]; [`metrics`] says how often. What every
//! agent has, settings, log, health, signals, is `spoa-process`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod check_ip;
pub mod lists;
pub mod metrics;
