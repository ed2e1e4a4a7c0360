//! A tokio engine for SPOE agents: HAProxy asks over SPOP, a [`tower::Service`] answers.
//!
//! An agent is a [`Router`] of message names to async functions, and [`serve`]. A first one
//! is 15 lines:
//!
//! ```no_run
//! # #[cfg(feature = "serde")]
//! # mod agent {
//! use spop_server::{Actions, Args, Router, Scope, ServeError, serve};
//! use std::net::IpAddr;
//!
//! /// Sets `sess.<var-prefix>.ip_score` for each client; HAProxy says `args ip_src=src`.
//! async fn check(Args((ip,)): Args<(IpAddr,)>) -> Actions {
//!     let score = if ip.is_loopback() { 0 } else { 100 };
//!     Actions::new().set_var(Scope::Session, "ip_score", score)
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), ServeError> {
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
//!     serve(listener, Router::new().message("check-ip", check)).await
//! }
//! # }
//! ```
//!
//! The [`guide`] goes on from here, one page a subject: [concepts](guide::concepts) for whom SPOE
//! is new to, [the first agent](guide::first_agent) with HAProxy's files,
//! [typed arguments](guide::typed_arguments), [middleware](guide::middleware),
//! [failures](guide::failures), [limits](guide::limits), [listeners](guide::listeners),
//! [drain](guide::drain), [TLS](guide::tls), [metrics](guide::metrics),
//! [HAProxy's side](guide::haproxy), [questions](guide::questions) and a
//! [comparison](guide::comparison).
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
//!   async function ([`Router::message`]), a service ([`Router::message_service`]), which may
//!   again be a stack, or a plain function that borrows ([`Router::message_ref`]).
//! * Handlers run inside the connection's task: many at once, none blocking another, each
//!   cancelled by drop when the connection ends. Work that keeps the processor busy for more
//!   than a fraction of a millisecond belongs on [`tokio::task::spawn_blocking`].
//!
//! # Typed arguments
//!
//! A [`Handler`] takes what it needs as arguments, as in axum:
//! [`Args`](guide::typed_arguments) with the feature `serde`, off by default, the router's
//! [`State`], the [`Connection`], the whole [`Request`], or a type of your own that comes
//! [`FromRequest`].
//!
//! ```
//! # #[cfg(feature = "serde")]
//! # mod example {
//! use std::collections::HashSet;
//! use std::net::IpAddr;
//! use std::sync::Arc;
//!
//! use serde::Deserialize;
//! use spop_server::{Actions, Args, ArgsError, RequestRef, Router, Scope, State};
//!
//! #[derive(Deserialize)]
//! struct CheckIp {
//!     ip_src: IpAddr,
//!     port: Option<u16>,
//! }
//!
//! type Denied = Arc<HashSet<IpAddr>>;
//!
//! async fn check_ip(State(denied): State<Denied>, Args(args): Args<CheckIp>) -> Actions {
//!     let score = match (denied.contains(&args.ip_src), args.port) {
//!         (true, _) => 100,
//!         (false, Some(443)) => 0,
//!         (false, _) => 10,
//!     };
//!     Actions::new().set_var(Scope::Session, "ip_score", score)
//! }
//!
//! /// Nothing to wait for: reads the arguments where they are, and allocates nothing.
//! fn check_path(request: &RequestRef<'_>) -> Result<Actions, ArgsError> {
//!     let (path, agent): (&str, Option<&str>) = request.args_as()?;
//!     let odd = path.starts_with("/admin") || agent.is_none();
//!     Ok(Actions::new().set_var(Scope::Request, "odd", odd))
//! }
//!
//! fn router(denied: HashSet<IpAddr>) -> Router {
//!     Router::new()
//!         .message("check-ip", check_ip)
//!         .message_ref("check-path", check_path)
//!         .with_state(Arc::new(denied))
//! }
//! # }
//! ```
//!
//! Arguments that do not fit are answered without actions, or with what
//! [`Router::failure_policy`] says, and logged:
//! `argument "port" of message "check-ip": expected u16, found INT64 out of its range`.
//! [`Request::arg`] and [`Request::arg_at`] look one up without any type to fit.
//!
//! # What it holds to
//!
//! * **One ACK for each NOTIFY**: when a handler fails, panics, misses its deadline, returns
//!   what HAProxy cannot read, or does not exist. What such an ACK carries is
//!   [`Config::with_failure_policy`]; after a deadline nothing else is sent for that NOTIFY.
//! * **One writer per connection**, TCP_NODELAY, and answers that are ready together leave in
//!   one write, of at most 8 KiB.
//! * **Bounded**: connections, NOTIFYs in flight, frame size, and every wait ([`Config`]).
//! * **Clean end**: [`Serve::with_shutdown`] fails health checks, stops accepting, answers
//!   what is in flight and says AGENT-DISCONNECT.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// The README's examples compile.
#[cfg_attr(doctest, doc = include_str!("../../../README.md"))]
#[cfg(all(doctest, feature = "serde"))]
struct Readme;

// So do those of the crate's own.
#[cfg_attr(doctest, doc = include_str!("../README.md"))]
#[cfg(doctest)]
struct CrateReadme;

#[cfg(feature = "admin")]
pub mod admin;
mod config;
mod connection;
mod error;
mod extract;
mod failure;
// Text only: it is there for rustdoc, and no part of the crate.
#[cfg(any(doc, doctest))]
pub mod guide;
mod handler;
mod into_actions;
pub mod layer;
mod listener;
mod notify;
mod observe;
mod peer;
mod request_ref;
mod router;
mod serve;

pub use config::Config;
pub use connection::serve_connection;
pub use error::ServeError;
#[cfg(feature = "serde")]
pub use extract::{ArgId, Args, ArgsError, deserialize_text};
pub use extract::{Connection, FromRef, FromRequest, State};
pub use failure::{Failure, FailurePolicy};
pub use handler::{Handler, HandlerError, HandlerFuture};
pub use into_actions::IntoActions;
#[cfg(feature = "tls")]
pub use listener::tls;
pub use listener::{
    BoundListener, Endpoint, EndpointError, ListenError, Listener, UnixListener, claim_inherited,
    inherited,
};
pub use notify::{ConnectionInfo, Notify, Request};
pub use observe::{ConnectionEnd, Observer};
pub use peer::Peer;
pub use request_ref::RequestRef;
pub use router::{Route, RouteFuture, Router, RouterFuture};
pub use serve::{Serve, serve};
pub use spop_codec::{
    Action, ActionError, Actions, AgentConfig, Arg, Capabilities, Closed, Message, Negotiated,
    NotifyBuilder, Scope, Text, TooManyArgs, TypedData,
};
