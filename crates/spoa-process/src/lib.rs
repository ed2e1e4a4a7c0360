//! The process around an SPOE agent: what every agent's operator expects of it, so that an
//! agent's own source is about what it answers.
//!
//! * Settings are environment variables, or options of the same name ([`Options`]); a mistake
//!   is one line and exit code 2, before anything listens.
//! * The log goes to standard error, as text or JSON ([`log`]), as `RUST_LOG` says; warnings
//!   that repeat are limited.
//! * Metrics and health are shown on an address of their own, on loopback unless told
//!   otherwise ([`AdminAddr`]).
//! * SIGTERM and SIGINT end it: health checks fail, what is in flight is answered, then it is
//!   gone ([`Listening::serve`]). systemd is told ([`systemd`]).
//! * With the feature `otel`, what it answers is traced ([`traces`]).
//! * Files that it reads are read again when they change, or on SIGHUP ([`Watched`]).
//! * `healthcheck` asks a running agent what HAProxy's `option spop-check` asks
//!   ([`healthcheck()`]).
//!
//! [`run`] is all of it, for an agent whose settings clap reads:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use clap::Parser;
//! use spoa_process::{Agent, Options, parse, run};
//! use spop_server::{Actions, Request, Router, Scope};
//!
//! /// Says who is at home.
//! #[derive(Parser)]
//! #[command(version, after_help = spoa_process::EXIT_CODES)]
//! struct Arguments {
//!     #[command(flatten)]
//!     options: Options,
//! }
//!
//! async fn check(request: Request) -> Actions {
//!     let home = request.arg("ip_src").to_ip().is_some_and(|ip| ip.is_loopback());
//!     Actions::new().set_var(Scope::Transaction, "home", home)
//! }
//!
//! fn main() -> ExitCode {
//!     let Arguments { options } = parse("my-agent");
//!     run::<Arguments>("my-agent", options, async |_log| {
//!         Ok(Agent::new(Router::new().message("check-home", check)))
//!     })
//! }
//! ```
//!
//! An agent with a way of its own to read settings takes the parts: [`Listen`], [`AdminAddr`],
//! [`unknown_settings`], [`log::start`], [`Traces`](traces::Traces), [`runtime`], [`listen()`]. It begins with
//! [`spop_server::claim_inherited`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// The README's example compiles.
#[cfg_attr(doctest, doc = include_str!("../README.md"))]
#[cfg(doctest)]
struct Readme;

mod admin_addr;
mod agent;
mod descriptors;
mod environment;
mod healthcheck;
mod listen;
pub mod log;
mod options;
mod serve;
mod start;
pub mod systemd;
pub mod traces;
mod watch;

pub use admin_addr::AdminAddr;
pub use agent::{Agent, EXIT_CODES, run};
pub use environment::unknown_settings;
pub use healthcheck::{Unhealthy, healthcheck};
pub use listen::{HostAndPort, Listen};
pub use options::{Command, Options, parse};
pub use serve::{Listening, runtime, worker_threads};
pub use start::{StartError, listen, listen_admin, listen_spop};
pub use watch::Watched;
