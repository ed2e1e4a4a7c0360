//! HAPROXY-DISCONNECT and AGENT-DISCONNECT (SPOE.txt §3.2.8, §3.2.9).

use bytes::{Bytes, BytesMut};

use super::{FrameType, Header, RawFrame};
use crate::error::{DecodeError, Malformed};
use crate::parse;
use crate::status::Status;
use crate::text::Text;
use crate::value::{TypedData, put_counted};

const STATUS_CODE: &str = "status-code";
const MESSAGE: &str = "message";

/// HAProxy up to 3.0 refuses a longer message.
const MAX_MESSAGE: usize = 255;

/// The last frame of either side (SPOE.txt §3.2.8, §3.2.9).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnect {
    /// `status-code`: why. [`Status::UNKNOWN`] if the peer gave none.
    pub status: Status,
    /// `message`: why, in words. Empty if the peer gave none. May be any bytes.
    pub message: Bytes,
}

impl Disconnect {
    /// A goodbye with the usual words for `status`.
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            message: Bytes::from_static(status.reason().as_bytes()),
        }
    }

    /// A goodbye in words of your own, cut to 255 bytes when sent.
    pub fn with_message(status: Status, message: impl Into<Bytes>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The message as text.
    pub fn message(&self) -> Text<'_> {
        Text::new(&self.message)
    }

    pub(super) fn decode(raw: &RawFrame) -> Result<Self, DecodeError> {
        let mut bye = Self {
            status: Status::UNKNOWN,
            message: Bytes::new(),
        };
        parse::each(
            &raw.payload,
            raw.payload_offset,
            parse::entry,
            |(key, value)| {
                if key == STATUS_CODE {
                    let code = value.to_u64().and_then(|code| u32::try_from(code).ok());
                    bye.status = Status(code.ok_or(Malformed::ValueType(STATUS_CODE))?);
                } else if key == MESSAGE {
                    let text = value.to_text().ok_or(Malformed::ValueType(MESSAGE))?;
                    bye.message = raw.payload.slice_ref(text.as_bytes());
                }
                Ok(())
            },
        )?;
        Ok(bye)
    }

    /// Appends the frame, as `frame_type`: [`FrameType::HAPROXY_DISCONNECT`] or
    /// [`FrameType::AGENT_DISCONNECT`].
    pub fn encode(&self, frame_type: FrameType, out: &mut BytesMut) {
        let message = self.message.get(..MAX_MESSAGE).unwrap_or(&self.message);
        Header::new(frame_type, 0, 0).encode_frame(out, |out| {
            put_counted(STATUS_CODE.as_bytes(), out);
            TypedData::Uint32(self.status.0).encode(out);
            put_counted(MESSAGE.as_bytes(), out);
            TypedData::String(Text::new(message)).encode(out);
        });
    }
}
