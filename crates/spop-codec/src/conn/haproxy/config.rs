//! What HAProxy decides about its connections: the HELLO, the window and patience.

use core::time::Duration;

use crate::frame::HaproxyHello;

/// Settings of a [`HaproxyConnection`](super::HaproxyConnection); the defaults are HAProxy's
/// where it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyConfig {
    pub(super) hello: HaproxyHello,
    pub(super) max_in_flight: usize,
    pub(super) hello_timeout: Duration,
    pub(super) processing_timeout: Duration,
}

impl HaproxyConfig {
    /// A connection that opens with `hello`: [`HaproxyHello::new`] to ask,
    /// [`HaproxyHello::health_check`] to see whether the agent is healthy, or one with
    /// mistakes. All else is at its default.
    pub const fn new(hello: HaproxyHello) -> Self {
        Self {
            hello,
            max_in_flight: 20,
            hello_timeout: Duration::from_secs(5),
            processing_timeout: Duration::from_secs(1),
        }
    }

    /// NOTIFYs that may wait for their ACK when pipelining was agreed on, default 20: what
    /// HAProxy 3.1 and later have built in, and what `max-waiting-frames` is before. With 0
    /// nothing can be asked. Without pipelining it is 1.
    ///
    /// The set of those in flight is searched from the oldest on, so that answers in about
    /// the order they were asked for cost the same whatever this is.
    pub const fn with_max_in_flight(mut self, notifies: usize) -> Self {
        self.max_in_flight = notifies;
        self
    }

    /// How long the agent may take for its HELLO, and for its DISCONNECT in reply to
    /// HAProxy's: `timeout hello` up to HAProxy 3.0. Default 5 s.
    pub const fn with_hello_timeout(mut self, timeout: Duration) -> Self {
        self.hello_timeout = timeout;
        self
    }

    /// How long a NOTIFY may take from the call to its ACK: `timeout processing`
    /// (SPOE.txt §2.2), which HAProxy leaves unlimited unless told. Default 1 s.
    pub const fn with_processing_timeout(mut self, timeout: Duration) -> Self {
        self.processing_timeout = timeout;
        self
    }
}
