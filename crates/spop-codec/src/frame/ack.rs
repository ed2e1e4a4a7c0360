//! ACK: the agent's answer, a list of actions (SPOE.txt §3.2.7).

use bytes::{Bytes, BytesMut};

use super::{Flags, FrameType, Header, RawFrame};
use crate::action::{self, ActionIter, Actions};
use crate::error::DecodeError;
use crate::parse;

/// The answer to the NOTIFY with the same stream-id and frame-id (SPOE.txt §3.2.7).
#[derive(Clone, PartialEq, Eq)]
pub struct Ack {
    stream_id: u64,
    frame_id: u64,
    aborted: bool,
    payload: Bytes,
}

impl Ack {
    /// An answer with `actions`. Invalid actions make it an empty one: ask
    /// [`Actions::error`] first.
    pub fn new(stream_id: u64, frame_id: u64, actions: &Actions) -> Self {
        Self {
            stream_id,
            frame_id,
            aborted: false,
            payload: Bytes::copy_from_slice(actions.payload().unwrap_or_default()),
        }
    }

    /// The answer that gives a fragmented NOTIFY up: no actions, and ABORT set. HAProxy
    /// (up to 3.0) fails the request with error 4.
    pub const fn abort(stream_id: u64, frame_id: u64) -> Self {
        Self {
            stream_id,
            frame_id,
            aborted: true,
            payload: Bytes::new(),
        }
    }

    /// The stream-id of the NOTIFY that this answers.
    pub const fn stream_id(&self) -> u64 {
        self.stream_id
    }

    /// The frame-id of the NOTIFY that this answers.
    pub const fn frame_id(&self) -> u64 {
        self.frame_id
    }

    /// Whether the agent gave a fragmented NOTIFY up (ABORT set).
    pub const fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The actions in the order HAProxy runs them.
    pub fn actions(&self) -> ActionIter<'_> {
        ActionIter::new(&self.payload)
    }

    pub(super) fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        parse::each(&raw.payload, raw.payload_offset, action::parse, |_| Ok(()))?;
        Ok(Self {
            stream_id: raw.header.stream_id,
            frame_id: raw.header.frame_id,
            aborted: raw.header.flags.contains(Flags::ABORT),
            payload: raw.payload,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut header = Header::new(FrameType::ACK, self.stream_id, self.frame_id);
        if self.aborted {
            header.flags.0 |= Flags::ABORT.0;
        }
        header.encode_whole(&self.payload, out);
    }
}
