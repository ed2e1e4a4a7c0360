//! The part that all frames share: type, flags, stream-id, frame-id (SPOE.txt §3.2).

use core::fmt;

use bytes::{BufMut, BytesMut};

use crate::error::Malformed;
use crate::parse::{self, Parsed};
use crate::reader::Reader;
use crate::varint;

/// The smallest value of a length field, in bytes: type, flags and two one-byte ids
/// (SPOE.txt §3.2).
pub const MIN_LENGTH: u32 = 7;

/// What a frame is (SPOE.txt §3.2.2). Values that nobody assigned survive, so that they can
/// be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameType(pub u8);

impl FrameType {
    /// The next fragment of a NOTIFY (HAProxy up to 3.0).
    pub const UNSET: Self = Self(0);
    /// HAProxy's HELLO.
    pub const HAPROXY_HELLO: Self = Self(1);
    /// HAProxy's DISCONNECT.
    pub const HAPROXY_DISCONNECT: Self = Self(2);
    /// A question.
    pub const NOTIFY: Self = Self(3);
    /// The agent's HELLO.
    pub const AGENT_HELLO: Self = Self(101);
    /// The agent's DISCONNECT.
    pub const AGENT_DISCONNECT: Self = Self(102);
    /// An answer.
    pub const ACK: Self = Self(103);

    /// Whether SPOE.txt §3.2.2 assigns the type.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0..=3 | 101..=103)
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "UNSET",
            1 => "HAPROXY-HELLO",
            2 => "HAPROXY-DISCONNECT",
            3 => "NOTIFY",
            101 => "AGENT-HELLO",
            102 => "AGENT-DISCONNECT",
            103 => "ACK",
            other => return write!(f, "type {other}"),
        })
    }
}

/// The 32 flags of a frame (SPOE.txt §3.2), of which two are assigned; the rest is kept and
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// The last, usually the only, fragment.
    pub const FIN: Self = Self(1);
    /// The sender gives this frame up.
    pub const ABORT: Self = Self(2);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Bytes of the longest header: type, flags and two ids.
const MAX_HEADER: usize = 5 + 2 * varint::MAX_LEN;

/// Everything between the length field and the payload (SPOE.txt §3.2): 7 to 25 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the frame is.
    pub frame_type: FrameType,
    /// Its flags; HAProxy sets [`Flags::FIN`] and nothing else on whole frames.
    pub flags: Flags,
    /// The stream of HAProxy that asks. Zero in HELLO and DISCONNECT, and legal in a NOTIFY
    /// of HAProxy up to 3.0.
    pub stream_id: u64,
    /// The question within the stream. Zero in HELLO and DISCONNECT.
    pub frame_id: u64,
}

impl Header {
    /// The header of a whole frame.
    pub(crate) const fn new(frame_type: FrameType, stream_id: u64, frame_id: u64) -> Self {
        Self {
            frame_type,
            flags: Flags::FIN,
            stream_id,
            frame_id,
        }
    }

    #[inline(always)]
    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let mut reader = Reader::new(input);
        match Self::read(&mut reader) {
            Some(header) => Ok((reader.rest(), header)),
            None => parse::fail(Self::why_not(input)),
        }
    }

    #[inline(always)]
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            frame_type: FrameType(reader.byte()?),
            flags: Flags(u32::from_be_bytes(reader.array()?)),
            stream_id: reader.integer()?,
            frame_id: reader.integer()?,
        })
    }

    /// What [`read`](Self::read) stumbled over.
    #[cold]
    fn why_not(input: &[u8]) -> Malformed {
        let ids = input.get(5..).unwrap_or_default();
        let second = varint::decode(ids).and_then(|(_, rest)| varint::decode(rest));
        second.err().unwrap_or(Malformed::Truncated)
    }

    /// Bytes that the header takes, and with them the smallest length field for it.
    pub(crate) const fn encoded_len(&self) -> usize {
        5 + varint::encoded_len(self.stream_id) + varint::encoded_len(self.frame_id)
    }

    /// Appends a frame with this header and a payload that is there already.
    #[inline]
    pub(crate) fn encode_whole(&self, payload: &[u8], out: &mut BytesMut) {
        // The header is put together on the stack, for one append instead of five.
        let mut header = [0; 4 + MAX_HEADER];
        let ids = 9 + varint::write(self.stream_id, header.get_mut(9..));
        let end = ids + varint::write(self.frame_id, header.get_mut(ids..));
        let length = u32::try_from(end - 4 + payload.len()).unwrap_or(u32::MAX);
        let [a, b, c, d] = length.to_be_bytes();
        let [e, f, g, h] = self.flags.0.to_be_bytes();
        let front = [a, b, c, d, self.frame_type.0, e, f, g, h];
        if let Some(fixed) = header.first_chunk_mut() {
            *fixed = front;
        }
        out.reserve(end + payload.len());
        out.extend_from_slice(header.get(..end).unwrap_or_default());
        out.extend_from_slice(payload);
    }

    /// Appends a frame with this header, its payload written by `payload`.
    ///
    /// The length field says 4 GiB until the payload is complete: a frame that is cut short
    /// by a defect is refused by any reader instead of being taken for a shorter one.
    pub(crate) fn encode_frame(&self, out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        out.put_u32(u32::MAX);
        out.put_u8(self.frame_type.0);
        out.put_u32(self.flags.0);
        varint::encode(self.stream_id, out);
        varint::encode(self.frame_id, out);
        payload(out);
        let length = out.len() - start - 4;
        if let (Ok(length), Some(field)) = (u32::try_from(length), out.get_mut(start..start + 4)) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}
