//! Puts a NOTIFY together that came in fragments (SPOE.txt §3.2 up to HAProxy 3.0, the last
//! to send any). Nothing here writes fragments.
//!
//! ```text
//!           NOTIFY without FIN              more than the limit
//!  ┌──────┐                  ┌────────────┐                ┌──────────┐
//!  │ Idle │─────────────────▶│ Collecting │───────────────▶│ Dropping │
//!  └──────┘                  └────────────┘                └──────────┘
//!      ▲      UNSET with FIN       │                            │
//!      ├───────────────────────────┘                            │
//!      └────────────────────────────────────────────────────────┘
//!                        UNSET with FIN, another NOTIFY
//! ```

use core::mem;

use bytes::BytesMut;

use crate::error::DecodeError;
use crate::frame::{Flags, FrameType, Header, RawFrame};

/// The fragments of one NOTIFY, for one connection.
///
/// Every frame passes through: whole ones as they are, without a copy or an allocation.
/// Fragments are copied, as they would pin one read buffer each, up to a limit on the sum
/// of their payloads. [`AgentConnection`](crate::AgentConnection) has one inside
/// ([`AgentConfig::with_fragmentation`](crate::AgentConfig::with_fragmentation)); this is for
/// readers of their own.
///
/// ```
/// use bytes::Bytes;
/// use spop_codec::{Flags, Frame, FrameType, Header, RawFrame, Reassembled, Reassembly};
///
/// let fragment = |frame_type, flags, payload: &'static [u8]| {
///     let header = Header { frame_type, flags, stream_id: 7, frame_id: 1 };
///     RawFrame::new(header, Bytes::from_static(payload))
/// };
/// let mut reassembly = Reassembly::new(1 << 20);
/// let first = fragment(FrameType::NOTIFY, Flags(0), b"\x05che");
/// assert!(matches!(reassembly.push(first)?, Reassembled::Pending));
/// let last = fragment(FrameType::UNSET, Flags::FIN, b"ck\x00");
/// let Reassembled::Frame(whole) = reassembly.push(last)? else { panic!() };
/// let Frame::Notify(notify) = Frame::decode(whole)? else { panic!() };
/// assert_eq!(notify.messages().next().unwrap().name(), "check");
/// # Ok::<(), spop_codec::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Reassembly {
    limit: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Collecting { header: Header, payload: BytesMut },
    Dropping { header: Header },
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reassembled {
    /// A whole frame, for [`Frame::decode`](crate::Frame::decode): the one that came, or the
    /// NOTIFY that its last fragment completed.
    Frame(RawFrame),
    /// A fragment was kept, or dropped because its NOTIFY was given up. Read on.
    Pending,
    /// HAProxy gave the NOTIFY up. It wants no answer.
    Aborted,
    /// The NOTIFY exceeds the limit and is dropped, with the fragments to come. To be
    /// answered with [`Ack::abort`](crate::Ack::abort).
    TooBig {
        /// The stream-id of the NOTIFY.
        stream_id: u64,
        /// The frame-id of the NOTIFY.
        frame_id: u64,
    },
}

impl Reassembly {
    /// For NOTIFY frames of up to `limit` bytes of payload, all fragments together. One that
    /// comes whole is bounded by [`FrameDecoder`](crate::FrameDecoder) alone.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            state: State::Idle,
        }
    }

    /// Whether fragments are kept that wait for more.
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Collecting { .. })
    }

    /// Takes the next frame of the connection, of whatever type.
    ///
    /// # Errors
    /// [`DecodeError::Interlaced`]: a NOTIFY before the last fragment of another, an UNSET
    /// frame with other ids than the NOTIFY that came last, or without any. The stream is
    /// lost then.
    pub fn push(&mut self, frame: RawFrame) -> Result<Reassembled, DecodeError> {
        match frame.header.frame_type {
            FrameType::NOTIFY => self.start(frame),
            FrameType::UNSET => self.go_on(&frame),
            _ => Ok(Reassembled::Frame(frame)),
        }
    }

    fn start(&mut self, frame: RawFrame) -> Result<Reassembled, DecodeError> {
        if self.is_pending() {
            return Err(DecodeError::Interlaced);
        }
        // The fragments of a NOTIFY that was given up end without FIN, if HAProxy heard of
        // it in time.
        self.state = State::Idle;
        if frame.header.flags.contains(Flags::FIN) {
            return Ok(Reassembled::Frame(frame));
        }
        Ok(self.collect(frame.header, BytesMut::new(), &frame))
    }

    fn go_on(&mut self, frame: &RawFrame) -> Result<Reassembled, DecodeError> {
        let continues = |first: &Header| {
            (first.stream_id, first.frame_id) == (frame.header.stream_id, frame.header.frame_id)
        };
        match mem::replace(&mut self.state, State::Idle) {
            State::Collecting { header, payload } if continues(&header) => {
                if frame.header.flags.contains(Flags::FIN | Flags::ABORT) {
                    return Ok(Reassembled::Aborted);
                }
                Ok(self.collect(header, payload, frame))
            }
            State::Dropping { header } if continues(&header) => {
                if !frame.header.flags.contains(Flags::FIN) {
                    self.state = State::Dropping { header };
                }
                Ok(Reassembled::Pending)
            }
            _ => Err(DecodeError::Interlaced),
        }
    }

    /// Adds a fragment to the payload of the NOTIFY that began with `header`.
    fn collect(&mut self, header: Header, mut payload: BytesMut, frame: &RawFrame) -> Reassembled {
        let (stream_id, frame_id) = (header.stream_id, header.frame_id);
        let last = frame.header.flags.contains(Flags::FIN);
        if payload.len() + frame.payload.len() > self.limit as usize {
            if !last {
                self.state = State::Dropping { header };
            }
            return Reassembled::TooBig {
                stream_id,
                frame_id,
            };
        }
        payload.extend_from_slice(&frame.payload);
        if last {
            let whole = Header::new(FrameType::NOTIFY, stream_id, frame_id);
            return Reassembled::Frame(RawFrame::new(whole, payload.freeze()));
        }
        self.state = State::Collecting { header, payload };
        Reassembled::Pending
    }
}
