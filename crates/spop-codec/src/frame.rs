//! The six frames of SPOP, both directions (SPOE.txt §3.2).
//!
//! ```text
//!  0        4      5        9
//! ┌────────┬──────┬────────┬───────────┬──────────┬─────────┐
//! │ length │ type │ flags  │ stream-id │ frame-id │ payload │
//! │ u32 be │ u8   │ u32 be │ varint    │ varint   │         │
//! └────────┴──────┴────────┴───────────┴──────────┴─────────┘
//!          ◀───────────────── length bytes ─────────────────▶
//! ```

mod ack;
mod disconnect;
mod header;
mod hello;
mod notify;

pub use ack::Ack;
pub use disconnect::Disconnect;
pub use header::{Flags, FrameType, Header, MIN_LENGTH};
pub use hello::{AgentHello, HaproxyHello, MIN_FRAME_SIZE, Negotiated, VERSION};
pub use notify::{Arg, Args, Message, Messages, Notify, NotifyBuilder, PeekedNotify, TooManyArgs};

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;

/// A frame cut from the stream: its header is read, its payload not yet (SPOE.txt §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Type, flags and ids.
    pub header: Header,
    /// What follows the header. Shares the read buffer's memory.
    pub payload: Bytes,
    /// Where the payload starts, counted from the first byte after the length field.
    pub(crate) payload_offset: usize,
}

impl RawFrame {
    /// A frame by hand: for what the typed frames never are, such as fragments.
    pub const fn new(header: Header, payload: Bytes) -> Self {
        Self {
            header,
            payload,
            payload_offset: header.encoded_len(),
        }
    }

    /// Appends the frame, length field included, whatever it holds.
    pub fn encode(&self, out: &mut BytesMut) {
        self.header.encode_frame(out, |out| {
            out.extend_from_slice(&self.payload);
        });
    }
}

/// A frame whose payload has been checked (SPOE.txt §3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// HAProxy opens the connection.
    HaproxyHello(HaproxyHello),
    /// HAProxy closes it.
    HaproxyDisconnect(Disconnect),
    /// HAProxy asks.
    Notify(Notify),
    /// The agent opens the connection.
    AgentHello(AgentHello),
    /// The agent closes it.
    AgentDisconnect(Disconnect),
    /// The agent answers.
    Ack(Ack),
    /// A frame of another type: to be skipped (SPOE.txt §3.2.2).
    Unknown(RawFrame),
}

impl Frame {
    /// Reads the payload according to the type, and checks all of it.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] with the place in the frame;
    /// [`DecodeError::NonZeroIds`] for a HELLO or DISCONNECT with ids;
    /// [`DecodeError::Fragmented`] when FIN is clear and [`DecodeError::Interlaced`] for an
    /// UNSET frame: fragments go through [`Reassembly`](crate::Reassembly) first.
    pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        let header = raw.header;
        if header.frame_type == FrameType::UNSET && header.flags.contains(Flags::FIN) {
            return Err(DecodeError::Interlaced);
        }
        if header.frame_type.is_known() && !header.flags.contains(Flags::FIN) {
            return Err(DecodeError::Fragmented);
        }
        let without_ids = || match (header.stream_id, header.frame_id) {
            (0, 0) => Ok(()),
            _ => Err(DecodeError::NonZeroIds {
                frame_type: header.frame_type,
            }),
        };
        Ok(match header.frame_type {
            FrameType::NOTIFY => Self::Notify(Notify::decode(raw)?),
            FrameType::ACK => Self::Ack(Ack::decode(raw)?),
            FrameType::HAPROXY_HELLO => {
                without_ids()?;
                Self::HaproxyHello(HaproxyHello::decode(&raw)?)
            }
            FrameType::AGENT_HELLO => {
                without_ids()?;
                Self::AgentHello(AgentHello::decode(&raw)?)
            }
            FrameType::HAPROXY_DISCONNECT => {
                without_ids()?;
                Self::HaproxyDisconnect(Disconnect::decode(&raw)?)
            }
            FrameType::AGENT_DISCONNECT => {
                without_ids()?;
                Self::AgentDisconnect(Disconnect::decode(&raw)?)
            }
            _ => Self::Unknown(raw),
        })
    }

    /// Appends the frame, length field included. Decoding gives an equal frame back, except for
    /// a DISCONNECT whose message is over 255 bytes, which is cut.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::HaproxyHello(hello) => hello.encode(out),
            Self::HaproxyDisconnect(bye) => bye.encode(FrameType::HAPROXY_DISCONNECT, out),
            Self::Notify(notify) => notify.encode(out),
            Self::AgentHello(hello) => hello.encode(out),
            Self::AgentDisconnect(bye) => bye.encode(FrameType::AGENT_DISCONNECT, out),
            Self::Ack(ack) => ack.encode(out),
            Self::Unknown(raw) => raw.encode(out),
        }
    }

    /// What the frame is on the wire.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::HaproxyHello(_) => FrameType::HAPROXY_HELLO,
            Self::HaproxyDisconnect(_) => FrameType::HAPROXY_DISCONNECT,
            Self::Notify(_) => FrameType::NOTIFY,
            Self::AgentHello(_) => FrameType::AGENT_HELLO,
            Self::AgentDisconnect(_) => FrameType::AGENT_DISCONNECT,
            Self::Ack(_) => FrameType::ACK,
            Self::Unknown(raw) => raw.header.frame_type,
        }
    }
}
