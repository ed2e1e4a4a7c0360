//! The right to answer a NOTIFY, and what became of the answer.

use crate::frame::{FrameType, Header, Notify, PeekedNotify};

/// The right, and the duty, to answer one NOTIFY once (SPOE.txt §3.2.6).
///
/// Only a received NOTIFY yields one and answering consumes it, so an ACK for an id that
/// was never asked, or a second one, cannot be written.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "HAProxy waits for the ACK"]
pub struct AckTicket {
    stream_id: u64,
    frame_id: u64,
}

impl AckTicket {
    pub(super) const fn new(notify: &Notify) -> Self {
        Self {
            stream_id: notify.stream_id(),
            frame_id: notify.frame_id(),
        }
    }

    pub(super) const fn of(notify: &PeekedNotify<'_>) -> Self {
        Self {
            stream_id: notify.stream_id(),
            frame_id: notify.frame_id(),
        }
    }

    pub(super) const fn header(&self) -> Header {
        Header::new(FrameType::ACK, self.stream_id, self.frame_id)
    }
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckOutcome {
    /// The ACK waits in the transmit buffer.
    Queued,
    /// The actions were void ([`Actions::error`](crate::Actions::error)): an empty ACK waits instead.
    Void,
    /// The ACK exceeded what HAProxy can take
    /// ([`AgentConfig::with_max_ack_size`](crate::AgentConfig::with_max_ack_size)): an empty
    /// one waits instead.
    TooBig,
    /// The connection is closed already; nothing is sent.
    Closed,
}
