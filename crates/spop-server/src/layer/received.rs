//! When a request came.

use std::time::{Duration, Instant};

use crate::notify::{Notify, Request};

/// A request that knows when it was read from the socket, so that layers count time from
/// there and not from when they were reached. Implement it for a type that a stack maps
/// requests to, and the layers work below, too:
///
/// ```
/// use std::time::Instant;
///
/// use spop_server::Request;
/// use spop_server::layer::Received;
///
/// struct Check {
///     port: u64,
///     received: Instant,
/// }
///
/// impl Received for Check {
///     fn received(&self) -> Instant {
///         self.received
///     }
/// }
///
/// fn parse(request: Request) -> Check {
///     Check {
///         port: request.arg("port").to_u64().unwrap_or_default(),
///         received: request.received(),
///     }
/// }
/// ```
pub trait Received {
    /// When it was read from the socket.
    fn received(&self) -> Instant;
}

impl Received for Notify {
    fn received(&self) -> Instant {
        self.received()
    }
}

impl Received for Request {
    fn received(&self) -> Instant {
        self.received()
    }
}

/// The time since, on the clock that tokio's tests may stop.
pub(super) fn since(received: Instant) -> Duration {
    tokio::time::Instant::now()
        .into_std()
        .saturating_duration_since(received)
}
