//! SPOP, the protocol in which HAProxy asks an external agent for a decision, without I/O.
//!
//! ```text
//! HAProxy                                                   agent
//!    │  HAPROXY-HELLO   versions, max-frame-size, capabilities │
//!    ├────────────────────────────────────────────────────────▶│
//!    │  AGENT-HELLO     version, max-frame-size, capabilities  │
//!    │◀────────────────────────────────────────────────────────┤
//!    │  NOTIFY          stream-id, frame-id, messages          │
//!    ├────────────────────────────────────────────────────────▶│
//!    │  ACK             stream-id, frame-id, actions           │
//!    │◀────────────────────────────────────────────────────────┤
//!    │  DISCONNECT      status-code, message      (either way) │
//!    ├────────────────────────────────────────────────────────▶│
//! ```
//!
//! Three levels, each usable without the next:
//!
//! 1. **Values**: [`varint`], [`TypedData`], [`Text`].
//! 2. **Frames**: [`FrameDecoder`] cuts them off a stream, [`Frame::decode`] checks them,
//!    each type's `encode` writes it. All six, both directions, for agents as well as for
//!    whoever plays HAProxy.
//! 3. **Connections**: [`AgentConnection`] is the agent's side as a state machine that takes
//!    bytes and the time and gives events and bytes.
//!
//! What it holds to:
//!
//! * A frame owns one [`bytes::Bytes`]; messages, arguments and values are `Copy` views over
//!   it, checked once when the frame is decoded, so iterating them cannot fail.
//! * Text is bytes first ([`Text`]); nothing is rewritten lossily.
//! * "Incomplete" comes from the length field and the wait for the body alone. Inside a
//!   frame, running past the end is an error with a place and a status code.
//! * No panic, no unchecked index, and no allocation by a size the peer chose.
//! * Encoding is deterministic.
//!
//! Section numbers in the docs (SPOE.txt §3.2) are those of `doc/SPOE.txt` in HAProxy's
//! sources. The crate is `no_std` and needs `alloc`.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod capability;
mod conn;
mod decode;
mod error;
mod frame;
mod parse;
mod status;
mod text;
mod value;
pub mod varint;

pub use action::{Action, ActionError, ActionIter, Actions, MAX_NAME_LEN, Scope};
pub use capability::Capabilities;
pub use conn::{AckOutcome, AckTicket, AgentConfig, AgentConnection, Closed, ConfigError, Event};
pub use decode::FrameDecoder;
pub use error::{DecodeError, Malformed};
pub use frame::{
    Ack, AgentHello, Arg, Args, Disconnect, Flags, Frame, FrameType, HaproxyHello, Header,
    MIN_FRAME_SIZE, MIN_LENGTH, Message, Messages, Negotiated, Notify, NotifyBuilder, RawFrame,
    TooManyArgs, VERSION,
};
pub use status::Status;
pub use text::Text;
pub use value::TypedData;
