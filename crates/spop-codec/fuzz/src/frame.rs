//! Frames: any stream is cut the same way however it arrives, and what is accepted is
//! written back equal.

use bytes::{BufMut, Bytes, BytesMut};
use spop_codec::{
    Action, Capabilities, DecodeError, Disconnect, Frame, FrameDecoder, FrameType, Notify, RawFrame,
};

use crate::memory::Memory;
use crate::message;

/// HAProxy's default, in bytes.
const LIMIT: u32 = 16_380;

/// Reads `stream` whole and byte by byte, and every frame of it.
pub fn check(stream: &[u8]) {
    let memory = Memory::begin();
    let (frames, end) = cut([stream]);
    let by_byte = cut(stream.chunks(1));
    memory.assert_at_most(64 * stream.len() + 4096);
    assert_eq!((&frames, &end), (&by_byte.0, &by_byte.1));
    if let Err(error) = end {
        refused(error);
    }
    for raw in frames {
        let size = raw.payload.len() + 25;
        let notify = Notify::decode(raw.clone()).map(Frame::Notify);
        let frame_type = raw.header.frame_type;
        let read = Frame::decode(raw);
        if frame_type == FrameType::NOTIFY {
            assert_eq!(notify, read);
        } else {
            assert_eq!(notify, Err(DecodeError::Unexpected { frame_type }));
        }
        match read {
            Ok(frame) => accepted(frame),
            Err(error) => {
                refused(error);
                if let DecodeError::Malformed { offset, .. } = error {
                    assert!(offset < size, "the place is in the frame");
                }
            }
        }
    }
}

/// The frames of a stream that comes in `parts`, then what stopped it: an error, or the
/// bytes of an incomplete frame.
fn cut<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<RawFrame>, Result<Bytes, DecodeError>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for part in parts {
        input.extend_from_slice(part);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(raw)) => frames.push(raw),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(input.len() < 4 + LIMIT as usize, "no frame is longer");
    }
    (frames, Ok(input.freeze()))
}

fn refused(error: DecodeError) {
    assert!((1..=99).contains(&error.status().0));
    assert!(
        error.to_string().len() < 100,
        "never holds what the peer sent"
    );
}

fn accepted(mut frame: Frame) {
    match &mut frame {
        Frame::HaproxyHello(hello) => {
            match hello.negotiate(LIMIT, Capabilities::PIPELINING) {
                Ok(agreed) => {
                    assert!((256..=LIMIT).contains(&agreed.max_frame_size));
                    assert!(agreed.max_frame_size <= agreed.announced_frame_size);
                }
                Err(status) => assert!((5..=9).contains(&status.0)),
            };
        }
        Frame::Notify(notify) => message::visit_all(notify),
        Frame::Ack(ack) => {
            for action in ack.actions() {
                let (Action::SetVar { scope, .. } | Action::UnsetVar { scope, .. }) = action else {
                    panic!("{action:?}");
                };
                assert!(scope.to_string().len() >= 3);
            }
        }
        // The one part of a frame that is cut when written.
        Frame::HaproxyDisconnect(Disconnect { message, .. })
        | Frame::AgentDisconnect(Disconnect { message, .. }) => message.truncate(255),
        Frame::AgentHello(_) | Frame::Unknown(_) => {}
        _ => panic!("a frame that nothing visits: {frame:?}"),
    }
    let wire = encoded(&frame);
    let again = decoded(wire.clone());
    assert_eq!(again, frame);
    assert_eq!(encoded(&again), wire, "writing is deterministic");
}

/// The frame in wire form.
pub(crate) fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out
}

/// The one frame that `wire` is.
pub(crate) fn decoded(mut wire: BytesMut) -> Frame {
    let raw = FrameDecoder::new(u32::MAX).next(&mut wire);
    let raw = raw.expect("an own frame").expect("a whole frame");
    assert!(wire.is_empty(), "the length is honest");
    Frame::decode(raw).expect("what was written can be read")
}

/// The frames that `wire` is, whole and all of one's own.
pub(crate) fn frames(mut wire: BytesMut) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new(u32::MAX);
    let mut frames = Vec::new();
    while let Some(raw) = decoder.next(&mut wire).expect("own frames") {
        frames.push(Frame::decode(raw).expect("own frames"));
    }
    assert!(wire.is_empty(), "a part of a frame was written");
    frames
}

/// A frame by hand, with ids of one byte, as far as the decoder cuts it.
pub(crate) fn whole(frame_type: FrameType, flags: u32, ids: [u8; 2], payload: &[u8]) -> RawFrame {
    let mut wire = BytesMut::new();
    put_raw(frame_type, flags, ids, payload, &mut wire);
    let raw = FrameDecoder::new(u32::MAX).next(&mut wire);
    raw.expect("a valid header").expect("a whole frame")
}

/// Writes a frame by hand. An id of 240 or more is two bytes long.
pub(crate) fn put_raw(
    frame_type: FrameType,
    flags: u32,
    ids: [u8; 2],
    payload: &[u8],
    out: &mut BytesMut,
) {
    let ids_len: usize = ids.map(|id| if id < 240 { 1 } else { 2 }).iter().sum();
    let length = u32::try_from(5 + ids_len + payload.len()).expect("inputs are short");
    out.put_u32(length);
    out.put_u8(frame_type.0);
    out.put_u32(flags);
    for id in ids {
        spop_codec::varint::encode(id.into(), out);
    }
    out.put_slice(payload);
}
