//! NOTIFY: the messages of one event, each with its arguments (SPOE.txt §3.2.6).
//!
//! ```text
//! payload  = *message
//! message  = name:string nb-args:u8 nb-args × argument
//! argument = name:string value:typed-data
//! ```

use core::iter::FusedIterator;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Flags, FrameType, Header, RawFrame};
use crate::error::{DecodeError, Malformed};
use crate::parse::{self, Parsed};
use crate::reader::Reader;
use crate::text::Text;
use crate::value::{TypedData, put_counted};

/// A question: zero or more messages that want one ACK with the same ids (SPOE.txt §3.2.6).
///
/// The payload was checked when the frame was decoded, so iterating cannot fail, and it
/// stays in the memory of the read buffer: keep a `Notify` no longer than its ACK takes,
/// and copy what must live on.
#[derive(Clone, PartialEq, Eq)]
pub struct Notify {
    stream_id: u64,
    frame_id: u64,
    aborted: bool,
    messages: u32,
    payload: Bytes,
}

impl Notify {
    /// The stream-id to answer with. Zero is legal (HAProxy up to 3.0).
    pub const fn stream_id(&self) -> u64 {
        self.stream_id
    }

    /// The frame-id to answer with.
    pub const fn frame_id(&self) -> u64 {
        self.frame_id
    }

    /// Whether HAProxy gave the question up in the same frame (ABORT set).
    pub const fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The messages in the order HAProxy declares them. There may be none.
    pub fn messages(&self) -> Messages<'_> {
        Messages {
            left: self.messages,
            rest: &self.payload,
        }
    }

    /// The bytes of `message`, which must be one of this frame's, without a copy:
    /// [`Message::from_bytes`] reads them again. For handing one message to a task of its own.
    pub fn share(&self, message: &Message<'_>) -> Bytes {
        self.payload.slice_ref(message.raw)
    }

    /// Reads the payload of a frame that is a NOTIFY, and checks all of it.
    /// [`Frame::decode`](super::Frame::decode) does this for a frame of any type.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for a frame of another type, [`DecodeError::Fragmented`]
    /// when FIN is clear, [`DecodeError::Malformed`] with the place in the frame.
    #[inline(always)]
    pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        let Header {
            frame_type, flags, ..
        } = raw.header;
        if frame_type != FrameType::NOTIFY {
            return Err(DecodeError::Unexpected { frame_type });
        }
        if !flags.contains(Flags::FIN) {
            return Err(DecodeError::Fragmented);
        }
        let Some(messages) = count_messages(&raw.payload) else {
            return Err(why_not(&raw.payload, raw.payload_offset));
        };
        Ok(Self {
            stream_id: raw.header.stream_id,
            frame_id: raw.header.frame_id,
            aborted: flags.contains(Flags::ABORT),
            messages,
            payload: raw.payload,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut header = Header::new(FrameType::NOTIFY, self.stream_id, self.frame_id);
        if self.aborted {
            header.flags.0 |= Flags::ABORT.0;
        }
        header.encode_whole(&self.payload, out);
    }
}

/// A NOTIFY still in the read buffer, checked
/// ([`AgentConnection::peek_notify`](crate::AgentConnection::peek_notify)).
#[derive(Debug, Clone, Copy)]
pub struct PeekedNotify<'a> {
    stream_id: u64,
    frame_id: u64,
    len: usize,
    messages: u32,
    payload: &'a [u8],
}

impl<'a> PeekedNotify<'a> {
    /// `None` if the payload is malformed.
    #[inline(always)]
    pub(crate) fn new(header: Header, payload: &'a [u8], len: usize) -> Option<Self> {
        Some(Self {
            stream_id: header.stream_id,
            frame_id: header.frame_id,
            len,
            messages: count_messages(payload)?,
            payload,
        })
    }

    /// The stream-id to answer with.
    pub const fn stream_id(&self) -> u64 {
        self.stream_id
    }

    /// The frame-id to answer with.
    pub const fn frame_id(&self) -> u64 {
        self.frame_id
    }

    /// Bytes that the frame takes at the front of the buffer, length field included.
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The messages in the order HAProxy declares them. There may be none.
    #[inline]
    pub const fn messages(&self) -> Messages<'a> {
        Messages {
            left: self.messages,
            rest: self.payload,
        }
    }
}

/// Writes the NOTIFY that HAProxy would send (SPOE.txt §3.2.6).
///
/// ```
/// use spop_codec::{NotifyBuilder, TypedData};
///
/// let notify = NotifyBuilder::new()
///     .message("check-rate", [("ip_src", TypedData::Ipv4([192, 0, 2, 7].into()))])?
///     .build(1, 1);
/// assert_eq!(notify.messages().count(), 1);
/// # Ok::<(), spop_codec::TooManyArgs>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NotifyBuilder {
    messages: u32,
    payload: BytesMut,
}

impl NotifyBuilder {
    /// A NOTIFY without messages so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message. An argument may have an empty name, and names may repeat.
    ///
    /// # Errors
    /// [`TooManyArgs`] beyond 255 arguments: their number travels in one byte.
    pub fn message<'a>(
        mut self,
        name: &str,
        args: impl IntoIterator<Item = (&'a str, TypedData<'a>)>,
    ) -> Result<Self, TooManyArgs> {
        put_counted(name.as_bytes(), &mut self.payload);
        let count_at = self.payload.len();
        self.payload.put_u8(0);
        let mut count = 0_u8;
        for (name, value) in args {
            count = count.checked_add(1).ok_or(TooManyArgs)?;
            put_counted(name.as_bytes(), &mut self.payload);
            value.encode(&mut self.payload);
        }
        if let Some(field) = self.payload.get_mut(count_at) {
            *field = count;
        }
        self.messages = self.messages.saturating_add(1);
        Ok(self)
    }

    /// The frame, with the ids it is to be answered with.
    pub fn build(self, stream_id: u64, frame_id: u64) -> Notify {
        Notify {
            stream_id,
            frame_id,
            aborted: false,
            messages: self.messages,
            payload: self.payload.freeze(),
        }
    }
}

/// A message with more than 255 arguments cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message holds at most 255 arguments")]
pub struct TooManyArgs;

/// The messages of a [`Notify`].
#[derive(Clone)]
pub struct Messages<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    // Checked by `Notify::decode`: no `?` here ends the iteration early.
    #[inline(always)]
    fn next(&mut self) -> Option<Message<'a>> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 0 {
            // The last message has all that is left: no need to look for its end.
            return Message::from_bytes(self.rest);
        }
        let mut reader = Reader::new(self.rest);
        skip_message(&mut reader)?;
        let length = self.rest.len() - reader.rest().len();
        let (message, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Message::from_bytes(message)
    }
}

impl FusedIterator for Messages<'_> {}

/// One message: a name and arguments, borrowed from the frame (SPOE.txt §3.2.6).
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a [u8],
    name: Text<'a>,
    args: Args<'a>,
}

impl<'a> Message<'a> {
    /// The name of the `spoe-message` section.
    pub const fn name(&self) -> Text<'a> {
        self.name
    }

    /// Its bytes in the frame, as [`Notify::share`] gives them.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// The arguments in order.
    pub const fn args(&self) -> Args<'a> {
        self.args
    }

    /// The value of the first argument called `name`.
    #[inline]
    pub fn arg(&self, name: &str) -> Option<TypedData<'a>> {
        let Args { left, mut reader } = self.args;
        for _ in 0..left {
            if reader.text()? == *name {
                return reader.typed_data();
            }
            reader.skip_data()?;
        }
        None
    }

    /// Reads bytes that [`Notify::share`] gave out: the message's name and arguments.
    /// Of other bytes, a message that is not whole is `None`, or ends early.
    #[inline(always)]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let name = reader.text()?;
        let left = reader.byte()?;
        Some(Self {
            raw: bytes,
            name,
            args: Args { left, reader },
        })
    }
}

/// The arguments of a [`Message`].
#[derive(Clone, Copy)]
pub struct Args<'a> {
    left: u8,
    reader: Reader<'a>,
}

impl<'a> Iterator for Args<'a> {
    type Item = Arg<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Arg<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut read = || {
            let name = self.reader.text()?;
            let value = self.reader.typed_data()?;
            Some(Arg { name, value })
        };
        let arg = read();
        if arg.is_none() {
            // Bytes of other origin, given to `Message::from_bytes`: nothing after a bad item.
            self.left = 0;
        }
        arg
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.into()))
    }
}

impl FusedIterator for Args<'_> {}

/// One argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg<'a> {
    /// The name given in `args`, empty for an argument without.
    pub name: Text<'a>,
    /// The value of the sample fetch; [`TypedData::Null`] when it had none.
    pub value: TypedData<'a>,
}

/// How many messages `payload` holds. `None` if anything is wrong with any of them.
#[inline(always)]
fn count_messages(payload: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(payload);
    let mut messages = 0_u32;
    while !reader.rest().is_empty() {
        skip_message(&mut reader)?;
        messages = messages.checked_add(1)?;
    }
    Some(messages)
}

#[inline(always)]
fn skip_message(reader: &mut Reader<'_>) -> Option<()> {
    reader.text()?;
    for _ in 0..reader.byte()? {
        reader.text()?;
        reader.skip_data()?;
    }
    Some(())
}

/// What is wrong with a payload that [`count_messages`] refuses, and where.
#[cold]
fn why_not(payload: &[u8], offset: usize) -> DecodeError {
    let read = parse::each(payload, offset, message, |()| Ok(()));
    read.err().unwrap_or(DecodeError::Malformed {
        what: Malformed::Truncated,
        offset,
    })
}

/// [`skip_message`] with reasons.
fn message(input: &[u8]) -> Parsed<'_, ()> {
    let (rest, _name) = parse::text(input)?;
    let Some((&count, mut rest)) = rest.split_first() else {
        return parse::fail(Malformed::Truncated);
    };
    for _ in 0..count {
        let (after, _name) = parse::text(rest)?;
        (rest, _) = parse::typed_data(after)?;
    }
    Ok((rest, ()))
}
