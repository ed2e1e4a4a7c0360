//! What can go wrong between HAProxy's side and an agent.

use std::io;
use std::time::Duration;

use spop_codec::{DecodeError, Disconnect, Flags, Status, TooManyArgs};

/// Why there is no answer, or none that HAProxy would take.
///
/// After any of these but [`TooBig`](Self::TooBig), [`TooManyArgs`](Self::TooManyArgs) and
/// [`Timeout`](Self::Timeout) the connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address does not resolve, or nobody accepts there.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The socket failed. A reset by the agent is one of these.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Something took longer than the connection's timeout.
    #[error("no {waiting_for} within {} ms", .after.as_millis())]
    Timeout {
        /// What did not come: `AGENT-HELLO`, `ACK`, ….
        waiting_for: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// The agent closed the connection between two frames, without an AGENT-DISCONNECT.
    #[error("the agent closed the connection without a word")]
    Closed,
    /// The agent closed the connection inside a frame.
    #[error("the agent closed the connection {bytes} bytes into a frame")]
    Truncated {
        /// What had come of the frame, its length field included.
        bytes: usize,
    },
    /// The agent said AGENT-DISCONNECT.
    #[error("the agent disconnected with status {}", in_its_words(.0))]
    Disconnected(Disconnect),
    /// The AGENT-HELLO is one that HAProxy refuses, and this is the status that it was
    /// answered with.
    #[error("HAProxy refuses this AGENT-HELLO with status {0}")]
    Refused(Status),
    /// The AGENT-HELLO that answers a health check has other flags than FIN alone, which
    /// makes the check of HAProxy 3.1 and later fail.
    #[error("the flags of the AGENT-HELLO are {:#x}, not 0x1: HAProxy's check fails", .0.0)]
    CheckFlags(Flags),
    /// The agent sent something when it was to close: after the AGENT-HELLO that answers a
    /// health check, where HAProxy 3.1 and later take it for part of the HELLO, or after an
    /// AGENT-DISCONNECT.
    #[error("the agent sent {bytes} bytes more where nothing may follow")]
    Trailing {
        /// How many bytes came in the first piece.
        bytes: usize,
    },
    /// The agent sent something that is not a frame, or not one for this place.
    #[error("the agent broke the protocol: {0}")]
    Decode(#[from] DecodeError),
    /// The agent answered a question that was not asked. HAProxy 3.1 and later stop reading
    /// the connection then.
    #[error("an ACK for stream-id {stream_id}, frame-id {frame_id}, which nobody waits for")]
    UnexpectedAck {
        /// The ACK's stream-id.
        stream_id: u64,
        /// The ACK's frame-id.
        frame_id: u64,
    },
    /// The NOTIFY is larger than what was agreed on, so HAProxy would not send it.
    #[error("the NOTIFY has {length} bytes, {limit} were agreed on")]
    TooBig {
        /// Bytes of the frame, its length field not counted.
        length: usize,
        /// The max-frame-size agreed on.
        limit: u32,
    },
    /// The message has more arguments than a NOTIFY can say.
    #[error(transparent)]
    TooManyArgs(#[from] TooManyArgs),
}

/// The status and what the agent says it means; agents have codes of their own.
fn in_its_words(bye: &Disconnect) -> String {
    if bye.message.is_empty() {
        bye.status.to_string()
    } else {
        format!("{} ({})", bye.status.0, bye.message())
    }
}
