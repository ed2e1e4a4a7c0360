//! An exact, distributed rate limiter for HAProxy: GCRA over Valkey.
//!
//! The parts, from the inside out: [`gcra`] decides, [`store`] keeps what it decides on,
//! [`policy`] says what applies, [`identity`] says whose request it is, [`check_rate`] is what
//! HAProxy asks and is told, [`settings`] is what an operator can set, and [`app`] composes
//! them over `spop-server`. [`metrics`] counts it all, [`top`] says who is denied most,
//! [`live_view`] shows both in a browser, [`readiness`] says when it is of use. The binary adds
//! [`startup`], signals, a logger and the admin listener; [`reach`] asks beforehand what a start
//! would find.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod app;
pub mod check_rate;
pub mod gcra;
pub mod identity;
pub mod live_view;
pub mod metrics;
pub mod policy;
pub mod reach;
pub mod readiness;
pub mod settings;
pub mod startup;
pub mod store;
pub mod top;
