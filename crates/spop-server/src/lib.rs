//! A tokio engine for SPOE agents: HAProxy asks over SPOP, a [`tower::Service`] answers.
//!
//! An agent is a [`Router`] of message names to async functions, and [`serve`]:
//!
//! ```no_run
//! use spop_server::{Actions, Request, Router, Scope, ServeError, serve};
//! use tokio::net::TcpListener;
//!
//! /// Sets `sess.<var-prefix>.ip_score` for each client that HAProxy asks about.
//! async fn check(request: Request) -> Actions {
//!     let score = match request.arg("ip_src").to_ip() {
//!         Some(ip) if ip.is_loopback() => 0,
//!         _ => 100,
//!     };
//!     Actions::new().set_var(Scope::Session, "ip_score", score)
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), ServeError> {
//!     let listener = TcpListener::bind("127.0.0.1:9000").await?;
//!     serve(listener, Router::new().message("check-ip", check)).await
//! }
//! ```
//!
//! # What runs where
//!
//! ```text
//! socket ─▶ spop-codec ─▶ Notify ─▶ your layers ─▶ Router ─▶ Request ─▶ your layers ─▶ handler
//!    ▲                                                                                   │
//!    └────── one write per batch ◀────── one ACK ◀────── Actions, in message order ◀─────┘
//! ```
//!
//! * The engine speaks `Service<Notify, Response = Actions, Error = Infallible>`. A
//!   [`Router`] is one, a [`tower::ServiceBuilder`] stack around it another.
//! * Each message of a NOTIFY goes to the route of its name as a [`Request`]. A route is an
//!   async function ([`Router::message`]) or a service ([`Router::message_service`]), which
//!   may again be a stack.
//! * Handlers run inside the connection's task: many at once, none blocking another, each
//!   cancelled by drop when the connection ends. Work that keeps the processor busy for more
//!   than a fraction of a millisecond belongs on [`tokio::task::spawn_blocking`].
//!
//! # Typed arguments
//!
//! [`Request::arg`] looks one argument up by its name, [`Request::arg_at`] by its position.
//! With the feature `serde`, off by default, `Request::args_as` reads them all into a type
//! that derives `Deserialize`. What the type borrows stays in the request:
//!
//! ```
//! # #[cfg(feature = "serde")]
//! # mod example {
//! use std::net::IpAddr;
//!
//! use serde::Deserialize;
//! use spop_server::{Actions, ArgsError, Request, Scope};
//!
//! #[derive(Deserialize)]
//! struct CheckIp<'a> {
//!     ip_src: IpAddr,
//!     port: u16,
//!     user_agent: Option<&'a str>,
//! }
//!
//! async fn check(request: Request) -> Result<Actions, ArgsError> {
//!     let args: CheckIp<'_> = request.args_as()?;
//!     let score = match (args.ip_src.is_loopback(), args.port, args.user_agent) {
//!         (true, _, _) => 0,
//!         (false, 443, Some(_)) => 10,
//!         _ => 100,
//!     };
//!     Ok(Actions::new().set_var(Scope::Session, "ip_score", score))
//! }
//! # }
//! ```
//!
//! Arguments that do not fit are answered without actions, and logged:
//! `argument "port" of message "check-ip": expected u16, found INT64 out of its range`.
//!
//! # What it holds to
//!
//! * **One ACK for each NOTIFY**: when a handler fails, panics, misses its deadline, returns
//!   what HAProxy cannot read, or does not exist. What such an ACK carries is
//!   [`Config::with_failure_actions`]; after a deadline nothing else is sent for that NOTIFY.
//! * **One writer per connection**, TCP_NODELAY, and answers that are ready together leave in
//!   one write, of at most 8 KiB.
//! * **Bounded**: connections, NOTIFYs in flight, frame size, and every wait ([`Config`]).
//! * **Clean end**: [`Serve::with_shutdown`] fails health checks, stops accepting, answers
//!   what is in flight and says AGENT-DISCONNECT.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// The README's examples compile.
#[cfg_attr(doctest, doc = include_str!("../../../README.md"))]
#[cfg(doctest)]
struct Readme;

mod config;
mod connection;
mod error;
#[cfg(feature = "serde")]
mod extract;
mod into_actions;
mod notify;
mod router;
mod serve;

pub use config::{Config, Failure};
pub use connection::serve_connection;
pub use error::ServeError;
#[cfg(feature = "serde")]
pub use extract::{ArgId, ArgsError, deserialize_text};
pub use into_actions::IntoActions;
pub use notify::{ConnectionInfo, Notify, Request};
pub use router::{Route, Router, RouterFuture};
pub use serve::{Serve, serve};
pub use spop_codec::{
    Action, ActionError, Actions, AgentConfig, Arg, Capabilities, Message, Negotiated, Scope, Text,
    TooManyArgs, TypedData,
};
