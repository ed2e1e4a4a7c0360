//! Why bytes are not a frame, and what each reason is called on the wire.

use crate::status::Status;

/// What is wrong inside a frame whose length and type are known (SPOE.txt §3.1, §3.2, §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The frame ends inside an item.
    #[error("the frame ends inside an item")]
    Truncated,
    /// A variable-length integer of over ten bytes or above 2^64-1.
    #[error("an integer does not fit in 64 bits")]
    Varint,
    /// A data type that the protocol reserves (10 to 15).
    #[error("data type {0} is not assigned")]
    DataType(u8),
    /// An integer outside the range of the 32-bit type that it is tagged with.
    #[error("an integer exceeds its 32-bit type")]
    IntegerRange,
    /// A key of zero length in the payload of a HELLO or DISCONNECT frame.
    #[error("a key is empty")]
    EmptyKey,
    /// A known key with a value of another type than the protocol gives it.
    #[error("the value of `{0}` has the wrong type")]
    ValueType(&'static str),
    /// An action of a type other than SET-VAR and UNSET-VAR.
    #[error("action type {0} is not assigned")]
    ActionType(u8),
    /// An action with another number of arguments than its type has.
    #[error("an action has {0} arguments")]
    ActionArguments(u8),
    /// A variable scope above 4.
    #[error("variable scope {0} is not assigned")]
    Scope(u8),
}

impl<I> nom::error::ParseError<I> for Malformed {
    // The only nom parsers used are the length-counted ones, which fail one way.
    fn from_error_kind(_: I, _: nom::error::ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: I, _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

/// Why a frame cannot be used, or a connection not go on (SPOE.txt §3.2, §3.5). The text never
/// holds bytes of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The length field says less than the smallest header, 7 bytes (SPOE.txt §3.2).
    #[error("a frame of {length} bytes is shorter than its header")]
    TooShort {
        /// The length field.
        length: u32,
    },
    /// The length field exceeds the limit in force.
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooBig {
        /// The length field.
        length: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The content breaks the format.
    #[error("byte {offset} of the frame: {what}")]
    Malformed {
        /// What is wrong.
        what: Malformed,
        /// Where, counted from the first byte after the length field.
        offset: usize,
    },
    /// A HELLO or DISCONNECT frame whose stream-id or frame-id is not zero.
    #[error("stream-id and frame-id of a {frame_type} frame must be 0")]
    NonZeroIds {
        /// The type of the frame.
        frame_type: crate::FrameType,
    },
    /// The FIN flag is clear: a fragment, without the fragmentation capability.
    #[error("a fragmented frame, but fragmentation was not announced")]
    Fragmented,
    /// An UNSET frame (the next fragment of a NOTIFY) that continues nothing, or a NOTIFY
    /// between the fragments of another.
    #[error("a fragment without its NOTIFY, or two NOTIFY frames mixed")]
    Interlaced,
    /// A frame that this side may not receive now: of the other direction, before HELLO,
    /// or a second HELLO.
    #[error("a {frame_type} frame is not allowed here")]
    Unexpected {
        /// The type of the frame.
        frame_type: crate::FrameType,
    },
    /// The peer sent too many frames of types that nobody assigned.
    #[error("too many frames of unassigned types")]
    UnknownFrameFlood,
    /// An ACK for a NOTIFY that was never sent on the connection.
    #[error("an ACK for stream-id {stream_id}, frame-id {frame_id}, which were never asked")]
    UnknownAck {
        /// The stream-id of the ACK.
        stream_id: u64,
        /// The frame-id of the ACK.
        frame_id: u64,
    },
    /// An AGENT-HELLO that answers a health check with other flags than FIN.
    #[error("HAProxy's health check wants the flags 0x1, not {:#x}", flags.0)]
    HealthCheckFlags {
        /// The flags of the AGENT-HELLO.
        flags: crate::Flags,
    },
    /// Bytes right behind the AGENT-HELLO that answers a health check.
    #[error("HAProxy's health check fails: {bytes} bytes follow the AGENT-HELLO")]
    HealthCheckTrailing {
        /// How many.
        bytes: usize,
    },
}

impl DecodeError {
    /// The status-code to put in the DISCONNECT frame (SPOE.txt §3.5).
    pub const fn status(&self) -> Status {
        match self {
            Self::TooBig { .. } => Status::TOO_BIG,
            Self::Fragmented => Status::FRAGMENTATION_NOT_SUPPORTED,
            Self::Interlaced => Status::INTERLACED_FRAMES,
            Self::UnknownFrameFlood => Status::RESOURCE,
            Self::UnknownAck { .. } => Status::FRAME_ID_NOT_FOUND,
            Self::TooShort { .. }
            | Self::Malformed { .. }
            | Self::NonZeroIds { .. }
            | Self::Unexpected { .. }
            | Self::HealthCheckFlags { .. }
            | Self::HealthCheckTrailing { .. } => Status::INVALID_FRAME,
        }
    }
}
