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
//!    whoever plays HAProxy. [`Reassembly`] puts together what HAProxy up to 3.0 sends in
//!    fragments.
//! 3. **Connections**: [`AgentConnection`] is the agent's side and [`HaproxyConnection`]
//!    HAProxy's, as state machines that take bytes and the time and give events and bytes.
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
//!
//! # Reading a captured frame
//!
//! A NOTIFY as HAProxy writes it, here with one message of two arguments:
//!
//! ```
//! use bytes::BytesMut;
//! use spop_codec::{Frame, FrameDecoder};
//!
//! let mut captured = BytesMut::from(
//!     &b"\0\0\0\x18\x03\0\0\0\x01\x01\x01\x02m1\x02\x01a\x08\x01x\x02ip\x06\x7f\0\0\x01"[..],
//! );
//! let raw = FrameDecoder::new(16380).next(&mut captured)?.expect("a whole frame");
//! let Frame::Notify(notify) = Frame::decode(raw)? else { panic!("another frame") };
//! for message in notify.messages() {
//!     for arg in message.args() {
//!         println!("{}: {} = {:?}", message.name(), arg.name, arg.value);
//!     }
//! }
//! # assert_eq!(notify.messages().next().unwrap().args().count(), 2);
//! # Ok::<(), spop_codec::DecodeError>(())
//! ```
//!
//! # Serving a connection
//!
//! [`AgentConnection`] does no I/O, so it serves any stream. [`HaproxyConnection`] is its
//! counterpart for those who test agents. The [`guide`] has both on `std::net` alone, one asking
//! the other; `examples/blocking_agent.rs` in the sources is the agent as a program.
//!
//! # What shows it
//!
//! `cargo xtask test` runs all of this:
//!
//! * the bytes of real HAProxys of both generations, decoded and encoded again (`tests/golden.rs`,
//!   `tests/vectors/`), and the connection cases of the protocol text (`tests/connection.rs`,
//!   `tests/haproxy/`);
//! * properties: every frame survives a round trip, every cut of a stream gives the same events,
//!   no input panics (`tests/properties.rs`); both sides against each other in virtual time
//!   (`tests/pair/`);
//! * another implementation, the crate `spop`, on everything both speak (`tests/differential/`);
//! * no allocation for decoding, visiting and answering a NOTIFY (`tests/allocations.rs`);
//! * eight fuzz targets, briefly; `cargo xtask fuzz --seconds 300` takes its time.
//!
//! Miri is not among them. What it looks for is undefined behaviour, which takes unsafe code;
//! this crate forbids it, and `bytes`, which has some, runs Miri itself. It is also a part of
//! nightly Rust only, and everything here is to run on stable.
//!
//! # Limits
//!
//! | what | limit | set by |
//! |---|---|---|
//! | frame before the handshake | 16380 bytes | |
//! | frame after it | what the other side announced; for an agent 64 KiB at most, or its own size | [`AgentConfig::with_max_frame_size`] |
//! | NOTIFY in fragments, put together | refused unless asked for | [`AgentConfig::with_fragmentation`] |
//! | ACK, when pipelining was agreed on | 800 bytes | [`AgentConfig::with_max_ack_size`] |
//! | NOTIFYs in flight, agent's side | 64, then reading pauses | [`AgentConfig::with_max_in_flight`] |
//! | NOTIFYs in flight, HAProxy's side | 20, or 1 without pipelining | [`HaproxyConfig::with_max_in_flight`] |
//! | bytes that wait to be written | 64 KiB, then reading or asking pauses | |
//! | frames of unassigned types | 1000 on a connection | |
//! | arguments of a message | 255 | |
//! | name of a variable | [`MAX_NAME_LEN`] bytes | |
//! | message of a DISCONNECT that is sent | 255 bytes | |
//! | integer | 10 bytes, 2^64-1 | |

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod capability;
mod conn;
mod debug;
mod decode;
mod error;
mod frame;
// Text only: it is there for rustdoc, and no part of the crate.
#[cfg(any(doc, doctest))]
#[doc = include_str!("guide.md")]
pub mod guide {}
mod parse;
mod payload;
mod reader;
mod reassembly;
mod status;
mod text;
mod value;
pub mod varint;

pub use action::{Action, ActionError, ActionIter, Actions, MAX_NAME_LEN, Scope};
pub use capability::Capabilities;
pub use conn::{
    AckOutcome, AckTicket, AgentConfig, AgentConnection, Closed, ConfigError, Event, HaproxyClosed,
    HaproxyConfig, HaproxyConnection, HaproxyEvent, NotifyError,
};
pub use decode::FrameDecoder;
pub use error::{DecodeError, Malformed};
pub use frame::{
    Ack, AgentHello, Arg, Args, Disconnect, Flags, Frame, FrameType, HaproxyHello, Header,
    MIN_FRAME_SIZE, MIN_LENGTH, Message, Messages, Negotiated, Notify, NotifyBuilder, PeekedNotify,
    RawFrame, TooManyArgs, VERSION,
};
pub use reassembly::{Reassembled, Reassembly};
pub use status::Status;
pub use text::Text;
pub use value::TypedData;
