//! The metrics hook: what the engine tells whoever counts.

use std::io;
use std::time::Duration;

use spop_codec::{Closed, Negotiated};

use crate::failure::Failure;
use crate::peer::Peer;

/// Is told what happens, for metrics. Every method does nothing by default.
///
/// Called from the connections' tasks, some for every NOTIFY: an implementation should add
/// to a counter and return, and never panic. NOTIFYs in flight are those [received](Self::received) less those
/// [answered](Self::answered) and those that their connection [took along](Self::closed).
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use spop_server::{Config, Failure, Observer};
///
/// #[derive(Default)]
/// struct Late(AtomicU64);
///
/// impl Observer for Late {
///     fn answered(&self, failure: Option<Failure>, _: Duration) {
///         if failure == Some(Failure::Deadline) {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let config = Config::new().with_observer(Arc::new(Late::default()));
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted.
    fn accepted(&self, _peer: &Peer) {}

    /// Accepting failed, and pauses: out of file descriptors, most of the time.
    fn accept_failed(&self, _error: &io::Error) {}

    /// The limit of connections is reached: further ones wait in the kernel
    /// ([`Config::with_max_connections`](crate::Config::with_max_connections)).
    fn connections_full(&self) {}

    /// A connection has shaken hands.
    fn handshake(&self, _negotiated: &Negotiated) {}

    /// A connection ended, with so many NOTIFYs that nobody waits for any more.
    fn closed(&self, _end: &ConnectionEnd, _in_flight: usize) {}

    /// One read brought so many bytes.
    fn read(&self, _bytes: usize) {}

    /// A NOTIFY was taken in, to be answered.
    fn received(&self) {}

    /// Reading has stopped until something is answered, or taken by the peer: as many NOTIFYs
    /// as may be are in flight, or 64 KiB of answers wait to be written.
    fn paused(&self) {}

    /// A NOTIFY in fragments exceeded its limit, and was answered by an ACK with ABORT
    /// ([`AgentConfig::with_fragmentation`](spop_codec::AgentConfig::with_fragmentation)).
    fn notify_too_big(&self) {}

    /// An ACK was made, by the handler or, after a failure, by policy. `elapsed` is the time
    /// since the NOTIFY was read, to the precision of one turn of the connection's loop.
    fn answered(&self, _failure: Option<Failure>, _elapsed: Duration) {}

    /// So many ACKs were ready together. They leave in one write, unless that would exceed
    /// 8 KiB or the peer takes less.
    fn acks_ready(&self, _acks: usize) {}

    /// One write took so many bytes.
    fn written(&self, _bytes: usize) {}
}

/// Why a connection ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// By the protocol: a DISCONNECT of either side, a health check, a timeout.
    Protocol(Closed),
    /// The peer closed.
    Eof,
    /// The socket failed. A reset is a normal way for HAProxy to close.
    Io(io::Error),
    /// The peer took no byte of an answer for too long.
    WriteTimeout,
    /// The drain took too long, or the server was dropped.
    Dropped,
}

impl ConnectionEnd {
    /// A word for it, for logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Protocol(closed) => match closed {
                Closed::HealthCheck => "health-check",
                Closed::HealthCheckRefused => "health-check-refused",
                Closed::ByPeer(_) => "haproxy-disconnect",
                Closed::Refused(_) => "hello-refused",
                Closed::Violation(_) => "violation",
                Closed::HelloTimeout => "hello-timeout",
                Closed::FrameTimeout => "frame-timeout",
                Closed::IdleTimeout => "idle-timeout",
                Closed::Drained => "drained",
                _ => "other",
            },
            Self::Eof => "eof",
            Self::Io(_) => "io-error",
            Self::WriteTimeout => "write-timeout",
            Self::Dropped => "dropped",
        }
    }
}
