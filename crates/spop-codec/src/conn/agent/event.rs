//! What an agent's connection tells its owner.

use bytes::Bytes;

use super::AckTicket;
use crate::error::DecodeError;
use crate::frame::{Disconnect, Negotiated, Notify};
use crate::status::Status;

/// What happened on a connection, as the agent sees it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is done; the AGENT-HELLO waits in the transmit buffer.
    Ready {
        /// What was agreed on.
        negotiated: Negotiated,
        /// HAProxy's `engine-id`. Not unique, and no proof of anything.
        engine_id: Option<Bytes>,
    },
    /// A question. The ticket is to be given back to
    /// [`AgentConnection::ack`](crate::AgentConnection::ack).
    Notify(AckTicket, Notify),
    /// The fragments of a NOTIFY exceeded
    /// [`AgentConfig::with_fragmentation`](crate::AgentConfig::with_fragmentation): an ACK
    /// with ABORT waits in the transmit buffer, and nothing is to be answered.
    NotifyTooBig {
        /// The stream-id of the NOTIFY.
        stream_id: u64,
        /// The frame-id of the NOTIFY.
        frame_id: u64,
    },
    /// The end: write what the transmit buffer holds, then close. No event follows.
    Closed(Closed),
}

/// Why a connection ended, as the agent sees it. Where a DISCONNECT is due, it waits in the
/// transmit buffer (SPOE.txt §3.2.9, §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// It was a health check, and it was answered.
    HealthCheck,
    /// It was a health check, and it was refused, because the agent is about to stop.
    HealthCheckRefused,
    /// HAProxy said DISCONNECT; what was in flight is void.
    ByPeer(Disconnect),
    /// HAProxy's HELLO cannot be agreed with, for the reason that was sent back.
    Refused(Status),
    /// HAProxy broke the protocol; the matching DISCONNECT was queued.
    Violation(DecodeError),
    /// No HELLO in time. Closed without a word: plain TCP checks look like this.
    HelloTimeout,
    /// A frame, or a NOTIFY in fragments, began and was not completed in time.
    FrameTimeout,
    /// Nothing came for too long.
    IdleTimeout,
    /// A drain was asked for and everything is answered.
    Drained,
}
