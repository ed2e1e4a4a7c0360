//! What HAProxy's side of a connection tells its owner.

use core::time::Duration;

use crate::error::DecodeError;
use crate::frame::{Ack, Disconnect, Negotiated};
use crate::status::Status;

/// What happened on a connection, as HAProxy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaproxyEvent {
    /// The handshake is done: NOTIFYs are taken.
    Ready(Negotiated),
    /// The answer to a NOTIFY in flight.
    Ack {
        /// The answer, with the ids of the NOTIFY.
        ack: Ack,
        /// The time since the NOTIFY was asked.
        elapsed: Duration,
    },
    /// An answer that nobody waits for any more, because the NOTIFY timed out or was
    /// answered before. HAProxy drops it and goes on.
    LateAck(Ack),
    /// A NOTIFY was not answered in time and is given up. The connection goes on.
    TimedOut {
        /// The stream-id of the NOTIFY.
        stream_id: u64,
        /// The frame-id of the NOTIFY.
        frame_id: u64,
    },
    /// The end: write what the transmit buffer holds, then close. No event follows, and the
    /// NOTIFYs in [`waiting`](crate::HaproxyConnection::waiting) are void.
    Closed(HaproxyClosed),
}

/// Why a connection ended, as HAProxy sees it. Where a DISCONNECT is due, it waits in the
/// transmit buffer (SPOE.txt §3.2.8, §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaproxyClosed {
    /// It was a health check, and the agent is healthy.
    HealthCheck(Negotiated),
    /// The agent said DISCONNECT.
    ByPeer(Disconnect),
    /// [`disconnect`](crate::HaproxyConnection::disconnect) was called, and this is the
    /// agent's reply; `None` if it did not come in time.
    Disconnected(Option<Disconnect>),
    /// The AGENT-HELLO cannot be agreed with, for the reason that was sent back.
    Refused(Status),
    /// The agent broke the protocol; the matching DISCONNECT was queued, except in a health
    /// check.
    Violation(DecodeError),
    /// No AGENT-HELLO in time. Closed without a word.
    HelloTimeout,
}

/// Why a NOTIFY was not taken. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The handshake is not done yet, or the connection has ended.
    #[error("the connection is not between its HELLO and its DISCONNECT frames")]
    NotReady,
    /// The limit of NOTIFYs is in flight, or too much waits to be written.
    #[error("as many NOTIFY frames wait for an ACK as the connection may have in flight")]
    Full,
    /// The frame exceeds the max-frame-size that was agreed on. HAProxy fails the request
    /// with error 259 then.
    #[error("a NOTIFY of {length} bytes exceeds the max-frame-size of {limit}")]
    TooBig {
        /// What the length field would say.
        length: usize,
        /// The max-frame-size agreed on.
        limit: u32,
    },
    /// A NOTIFY with these ids waits for its ACK.
    #[error("a NOTIFY with stream-id {stream_id} and frame-id {frame_id} is in flight already")]
    InFlight {
        /// The stream-id in use.
        stream_id: u64,
        /// The frame-id in use.
        frame_id: u64,
    },
}
