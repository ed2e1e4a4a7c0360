//! Layers for agents, and how they stack up with tower's own. This page is the guide.
//!
//! # Two places
//!
//! **Around the whole agent** a layer gets each NOTIFY: a stack whose services take a
//! [`Notify`](crate::Notify), with a [`Router`](crate::Router) or another service in the
//! middle, given to [`serve`](crate::serve()). **Around a route** it gets each message as a
//! [`Request`](crate::Request): a stack given to
//! [`Router::message_service`](crate::Router::message_service), or, for all routes,
//! [`Router::layer`](crate::Router::layer). HAProxy sends one NOTIFY per event with all the
//! event's messages in it, most often one.
//!
//! In both places the finished stack cannot fail, since HAProxy is always answered: its
//! `Error` is [`Infallible`](std::convert::Infallible). Inside it, services fail as tower's
//! do, with a [`BoxError`](tower::BoxError), and [`RescueLayer`] makes an answer of that by
//! [`FailurePolicy`](crate::FailurePolicy).
//!
//! # Which layers, in which order
//!
//! Outermost first, as [`ServiceBuilder`](tower::ServiceBuilder) takes them. Each is
//! optional; the order is not.
//!
//! | layer | place | why there |
//! |---|---|---|
//! | [`TraceLayer`] | NOTIFY | all that is logged below is in its span |
//! | [`RescueLayer`] | both | makes answers of errors; what is outside sees no error any more |
//! | [`MetricsLayer`] | both | what is outside rescue sees answers only; outside the others it sees all their failures |
//! | [`DeadlineLayer`] | both | waits inside it are part of the budget |
//! | [`InFlightLimitLayer`] | both | what is refused has cost nothing below |
//! | tower's `filter`, `map_request` | route | cheap decisions before the handler |
//! | [`CatchPanicLayer`] | route | a panic is an error to all above, and only to this message |
//! | handler, or router | | |
//!
//! ```
//! use std::time::Duration;
//!
//! use spop_server::layer::{
//!     CatchPanicLayer, DeadlineLayer, InFlightLimitLayer, MetricsLayer, Outcome, RescueLayer,
//!     TraceLayer,
//! };
//! use spop_server::{Actions, FailurePolicy, Request, Router, Scope};
//! use tower::{BoxError, ServiceBuilder, service_fn};
//!
//! /// The handler: it may fail, and take its time.
//! async fn check(request: Request) -> Result<Actions, BoxError> {
//!     let ip = request.arg("ip_src").to_ip().ok_or("no ip_src")?;
//!     let score = if ip.is_loopback() { 0 } else { 100 };
//!     Ok(Actions::new().set_var(Scope::Session, "ip_score", score))
//! }
//!
//! fn count(name: &str, outcome: Outcome, elapsed: Duration) {
//!     println!("{name} {} {elapsed:?}", outcome.as_str());
//! }
//!
//! // What HAProxy gets when there is no decision: the variable that says so.
//! let policy = FailurePolicy::from_fn(|failure| {
//!     Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
//! });
//!
//! // Each message of this name.
//! let check = ServiceBuilder::new()
//!     .layer(RescueLayer::new(policy.clone()))
//!     .layer(MetricsLayer::new("check-ip", count))
//!     .layer(CatchPanicLayer::new())
//!     .service(service_fn(check));
//!
//! // Each NOTIFY, whatever is in it.
//! let agent = ServiceBuilder::new()
//!     .layer(TraceLayer::new())
//!     .layer(RescueLayer::new(policy))
//!     .layer(MetricsLayer::new("notify", count))
//!     .layer(DeadlineLayer::new(Duration::from_millis(8)))
//!     .layer(InFlightLimitLayer::new(1000))
//!     .service(Router::new().message_service("check-ip", check));
//!
//! # async fn run(
//! #     listener: tokio::net::TcpListener,
//! #     agent: impl tower::Service<
//! #         spop_server::Notify,
//! #         Response = Actions,
//! #         Error = std::convert::Infallible,
//! #         Future: Send,
//! #     > + Clone + Send + 'static,
//! # ) -> Result<(), spop_server::ServeError> {
//! spop_server::serve(listener, agent).await
//! # }
//! # let _agent_is_a_service = |listener| run(listener, agent);
//! ```
//!
//! A route made of an async function by [`Router::message`](crate::Router::message) answers
//! its handler's errors itself
//! ([`Router::failure_policy`](crate::Router::failure_policy)), so what
//! [`Router::layer`](crate::Router::layer) puts around it sees answers, and errors only of
//! the layers in between. Where a layer is to see the handler's errors, make the handler the
//! innermost service of a stack, as above.
//!
//! # tower's layers
//!
//! All compose, at both places:
//!
//! * **`timeout`** counts from the call. [`DeadlineLayer`] counts from when HAProxy's question
//!   was read, which is what HAProxy's `timeout processing` is about, and costs no timer when
//!   the handler is ready at once.
//! * **`concurrency_limit`** lets requests wait until others are done. Above a router, one
//!   limit is shared by all connections; in [`Router::layer`](crate::Router::layer) each route
//!   gets its own, unless it is a `GlobalConcurrencyLimitLayer`. Nothing but
//!   the engine's [handler timeout](crate::Config::with_handler_timeout) ends that wait: a
//!   deadline layer starts with the call, which is after it.
//! * **`load_shed`** makes errors of such waits. [`InFlightLimitLayer`] does it without a
//!   queue that could hold a place for nobody.
//! * **`rate_limit`** is for one service and cannot be cloned, so it needs **`buffer`** around
//!   it, which costs a task and a channel. `buffer` passes a service's answers on, but shares
//!   one failure of its readiness with everyone.
//! * **`filter`** refuses by error: rescue it, and let the error be
//!   [`HandlerError::rejected`](crate::HandlerError::rejected) to have it told as
//!   [`Failure::Rejected`](crate::Failure::Rejected).
//!
//! # Your own
//!
//! A layer here is as anywhere with tower: a `Layer`, a `Service` that hands `poll_ready` on,
//! and a future. The repository's `examples/policy.rs` denies by country before the handler,
//! in forty lines. Two rules keep it right:
//!
//! * what `poll_ready` found ready is this instance's, and for one call. A future that needs
//!   the service takes the instance along and leaves a clone:
//!   `std::mem::replace(&mut self.inner, self.inner.clone())`;
//! * an instance that was made ready and is then not called keeps what it reserved. Replace
//!   it with a clone of itself, or drop it.

mod catch_panic;
mod deadline;
mod failure;
mod in_flight_limit;
mod metrics;
mod passing_panic;
mod received;
mod rescue;
mod trace;

pub use catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
pub use deadline::{Deadline, DeadlineFuture, DeadlineLayer};
pub use in_flight_limit::{InFlightLimit, InFlightLimitFuture, InFlightLimitLayer};
pub use metrics::{Metrics, MetricsFuture, MetricsLayer, Outcome};
pub use received::Received;
pub use rescue::{Rescue, RescueFuture, RescueLayer};
pub use trace::{DefaultMakeSpan, MakeSpan, Trace, TraceFuture, TraceLayer};

/// What tower's services offer for the service inside them.
macro_rules! accessors {
    ($inner:ident) => {
        /// The service inside.
        pub const fn get_ref(&self) -> &$inner {
            &self.inner
        }

        /// The service inside.
        pub const fn get_mut(&mut self) -> &mut $inner {
            &mut self.inner
        }

        /// The service inside, alone.
        pub fn into_inner(self) -> $inner {
            self.inner
        }
    };
}
use accessors;
