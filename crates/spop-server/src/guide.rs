//! The guide: what an agent needs from the first line to production. Text only, no items.
//!
//! 1. [Concepts](concepts): what SPOE is, who asks whom, and what a question costs.
//! 2. [Your first agent](first_agent): the program, HAProxy's two files, and how to try it.
//! 3. [Typed arguments](typed_arguments): what handlers take, from structs to your own types.
//! 4. [Middleware](middleware): layers around the agent and around its routes.
//! 5. [Failures](failures): what HAProxy gets when a handler has no answer.
//! 6. [Limits](limits): every limit, with its default, its setter, and how to see it reached.
//! 7. [Listeners](listeners): TCP, Unix sockets, systemd, several at once.
//! 8. [Drain](drain): how to stop and restart without losing a decision.
//! 9. [TLS](tls): certificates on both sides.
//! 10. [Metrics](metrics): what the engine tells, and what layers tell.
//! 11. [HAProxy](haproxy): its side in detail, version by version, and where it surprises.
//! 12. [Questions](questions): what users of SPOE agents ask, and where the answer is.
//! 13. [Comparison](comparison): other libraries and agents, and when to use them instead.
//!
//! Every example is compiled, and run where it can end, by `cargo test --doc`.

// The pages link to items by their bare names.
#[allow(
    clippy::wildcard_imports,
    unused_imports,
    reason = "for the links of the pages"
)]
use crate::*;

#[doc = include_str!("guide/concepts.md")]
pub mod concepts {}

#[doc = include_str!("guide/first_agent.md")]
pub mod first_agent {}

// Pages about a feature are there without it, so that links to them hold.
#[cfg_attr(feature = "serde", doc = include_str!("guide/typed_arguments.md"))]
#[cfg_attr(
    not(feature = "serde"),
    doc = "Typed arguments need the feature `serde`, which this documentation was built without."
)]
pub mod typed_arguments {}

#[doc = include_str!("guide/middleware.md")]
pub mod middleware {}

#[doc = include_str!("guide/failures.md")]
pub mod failures {}

#[doc = include_str!("guide/limits.md")]
pub mod limits {}

#[doc = include_str!("guide/listeners.md")]
pub mod listeners {}

#[doc = include_str!("guide/drain.md")]
pub mod drain {}

#[cfg_attr(feature = "tls", doc = include_str!("guide/tls.md"))]
#[cfg_attr(
    not(feature = "tls"),
    doc = "TLS needs the feature `tls`, which this documentation was built without."
)]
pub mod tls {}

#[doc = include_str!("guide/metrics.md")]
pub mod metrics {}

#[doc = include_str!("guide/haproxy.md")]
pub mod haproxy {}

#[doc = include_str!("guide/questions.md")]
pub mod questions {}

#[doc = include_str!("guide/comparison.md")]
pub mod comparison {}
