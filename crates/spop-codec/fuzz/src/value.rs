//! Values: the codec against the protocol text, wherever a frame may hold one.

use spop_codec::{Action, DecodeError, Frame, FrameType, Text, TypedData};

use crate::by_the_text;
use crate::frame::{decoded, encoded, whole};

/// Reads `data` as an argument, as the value of a key, and as that of a variable.
pub fn check(data: &[u8]) {
    let mut rest = data;
    let expected = by_the_text::typed_data(&mut rest);
    let used = &data[..data.len() - rest.len()];
    let (start, value) = (
        &b"\x01m\x01\x01v"[..],
        if expected.is_ok() { used } else { data },
    );
    let notify = framed(FrameType::NOTIFY, start, value);
    let hello = framed(FrameType::HAPROXY_HELLO, b"\x01v", value);
    let ack = framed(FrameType::ACK, b"\x01\x03\x00\x01v", value);
    let expected = match expected {
        Ok(expected) => expected,
        Err(what) => {
            for read in [notify, hello, ack] {
                let is = matches!(read, Err(DecodeError::Malformed { what: is, .. }) if is == what);
                assert!(is, "{read:?} instead of {what:?}");
            }
            return;
        }
    };
    let (Ok(Frame::Notify(notify)), Ok(Frame::HaproxyHello(_)), Ok(Frame::Ack(ack))) =
        (&notify, &hello, &ack)
    else {
        panic!("{notify:?}, {hello:?} or {ack:?} instead of {expected:?}");
    };
    let message = notify.messages().next().expect("one was written");
    assert_eq!(message.arg("v"), Some(expected));
    assert_eq!(message.args().count(), 1);
    let set = ack.actions().next();
    assert!(matches!(set, Some(Action::SetVar { value, .. }) if value == expected));
    conversions(expected);

    let mut written = Vec::new();
    expected.encode(&mut written);
    assert_eq!(written[0] & 0x0f, used[0] & 0x0f, "the type stays");
    let short = matches!(expected, TypedData::Int32(value) if value < 0);
    assert!(written.len() == used.len() || short && written.len() == 11);
    if !short {
        assert_eq!(written[1..], used[1..], "only flags may change");
    }
}

/// A frame of `start` and `value`.
fn framed(frame_type: FrameType, start: &[u8], value: &[u8]) -> Result<Frame, DecodeError> {
    let ids = u8::from(matches!(frame_type, FrameType::NOTIFY | FrameType::ACK));
    let read = Frame::decode(whole(frame_type, 1, [ids, ids], &[start, value].concat()));
    if let Ok(frame) = &read {
        assert_eq!(&decoded(encoded(frame)), frame);
    }
    read
}

/// The conversions agree with each other and with the variant.
fn conversions(value: TypedData<'_>) {
    let integer = match value {
        TypedData::Int32(value) => Some(i128::from(value)),
        TypedData::Uint32(value) => Some(i128::from(value)),
        TypedData::Int64(value) => Some(i128::from(value)),
        TypedData::Uint64(value) => Some(i128::from(value)),
        _ => None,
    };
    assert_eq!(
        value.to_i64(),
        integer.and_then(|value| value.try_into().ok())
    );
    assert_eq!(
        value.to_u64(),
        integer.and_then(|value| value.try_into().ok())
    );
    assert_eq!(
        value.to_text().map(Text::as_bytes).or(binary(value)),
        value.to_bytes()
    );
    let kinds = [
        value.is_null(),
        value.to_bool().is_some(),
        integer.is_some(),
        value.to_ip().is_some(),
        value.to_bytes().is_some(),
    ];
    assert_eq!(kinds.iter().filter(|&&is| is).count(), 1, "{value:?}");
    if let Some(bytes) = value.to_bytes() {
        let shown = Text::new(bytes).to_string();
        assert!(
            shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "one line"
        );
    }
}

fn binary(value: TypedData<'_>) -> Option<&[u8]> {
    match value {
        TypedData::Binary(bytes) => Some(bytes),
        _ => None,
    }
}
