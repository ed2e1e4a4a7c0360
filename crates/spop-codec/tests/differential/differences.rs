//! Where crate `spop` and this one differ, and why this one does as it does. Each test fails
//! as soon as the difference is gone.

use bytes::BufMut;
use spop::frames::haproxy_hello::HaproxyHello as TheirHello;
use spop::frames::{self, FrameCapabilities};
use spop::{FramePayload, SpopFrame, TypedData as TheirData, VarScope};
use spop_codec::{
    Actions, Capabilities, DecodeError, Frame, FrameType, Malformed, Scope, Status, TypedData,
    varint,
};

use crate::{frame, read_here, read_there};

/// An entry of a HELLO or DISCONNECT.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::encode(key.len() as u64, &mut out);
    out.put_slice(key.as_bytes());
    out.put_slice(value);
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    TypedData::from(text).encode(&mut out);
    out
}

/// `supported-versions`, `max-frame-size` and `capabilities` in wire form.
fn hello(versions: &[u8], size: &[u8], capabilities: &[u8]) -> Vec<u8> {
    let payload = [
        entry("supported-versions", versions),
        entry("max-frame-size", size),
        entry("capabilities", capabilities),
    ];
    frame(FrameType::HAPROXY_HELLO, &payload.concat())
}

const SIZE: &[u8] = &[0x03, 0xfc, 0xf0, 0x06];

/// The one argument of a NOTIFY.
fn argument(value: &[u8]) -> Vec<u8> {
    frame(FrameType::NOTIFY, &[b"\x01m\x01\x01a", value].concat())
}

fn malformed(wire: &[u8]) -> Malformed {
    match read_here(wire) {
        Err(DecodeError::Malformed { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

/// Text that is not UTF-8 is rewritten there, so that different names become the same.
/// Here it stays as it is: HAProxy passes a client's bytes through.
#[test]
fn text() {
    for byte in [0xfe, 0xff] {
        let wire = argument(&[0x08, 0x01, byte]);
        let Ok(Frame::Notify(ours)) = read_here(&wire) else {
            panic!("not a NOTIFY");
        };
        let message = ours.messages().next().unwrap();
        assert_eq!(message.arg("a").unwrap().to_bytes(), Some(&[byte][..]));
        let theirs = read_there(&wire).unwrap();
        let FramePayload::ListOfMessages([message]) = theirs.payload() else {
            panic!("{theirs:?}");
        };
        assert_eq!(message.get("a"), Some(&"\u{fffd}".into()));
    }
}

/// A number beyond the 32 bits of its type is cut there, and refused here: no sender
/// means another number than it writes.
#[test]
fn integers_beyond_their_type() {
    let two_to_the_32 = [0xf0, 0xf1, 0xfe, 0xfe, 0x7e];
    for (tag, cut) in [(2, TheirData::Int32(0)), (3, TheirData::UInt32(0))] {
        let value = [&[tag], &two_to_the_32[..]].concat();
        assert_eq!(malformed(&argument(&value)), Malformed::IntegerRange);
        assert_eq!(TheirData::from_bytes(&value), Some(cut));
    }
}

/// Bits beyond the 64th are dropped there, and an error here: two encodings would be
/// one number.
#[test]
fn integers_beyond_64_bits() {
    let wire = [0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x1e];
    assert_eq!(varint::decode(&wire), Err(Malformed::Varint));
    assert_eq!(spop::decode_varint(&wire).unwrap().1, u64::MAX);
}

/// Reserved flags are refused there. HAProxy's own reader ignores them, and so does this.
#[test]
fn reserved_flags() {
    let mut wire = frame(FrameType::NOTIFY, b"");
    wire[5] = 0x80;
    assert!(matches!(read_here(&wire), Ok(Frame::Notify(_))));
    assert!(read_there(&wire).is_none());
}

/// A NOTIFY with ABORT is an error there. Here it is told, and answered by an empty ACK:
/// the connection has other requests on it.
#[test]
fn aborted() {
    let mut wire = frame(FrameType::NOTIFY, b"");
    wire[8] = 3;
    assert!(matches!(read_here(&wire), Ok(Frame::Notify(notify)) if notify.is_aborted()));
    assert!(read_there(&wire).is_none());
}

/// Types that nobody assigned are errors there, and skipped here (SPOE.txt §3.2.2).
#[test]
fn unknown_types() {
    let wire = frame(FrameType(50), b"?");
    assert!(matches!(read_here(&wire), Ok(Frame::Unknown(_))));
    assert!(read_there(&wire).is_none());
}

/// What agents write is read here only: it takes both to play HAProxy.
#[test]
fn agents_frames() {
    let ack = frames::Ack::new(0, 0).serialize().unwrap();
    assert!(matches!(read_here(&ack), Ok(Frame::Ack(_))));
    assert!(read_there(&ack).is_none());
}

/// A key twice is an error there. Here the last wins, and the connection lives.
#[test]
fn repeated_keys() {
    let message = entry("message", &string("bye"));
    let payload = [
        entry("status-code", b"\x03\x01"),
        message.clone(),
        entry("status-code", b"\x03\x02"),
    ];
    let wire = frame(FrameType::HAPROXY_DISCONNECT, &payload.concat());
    let Ok(Frame::HaproxyDisconnect(ours)) = read_here(&wire) else {
        panic!("not a DISCONNECT");
    };
    assert_eq!(ours.status, Status::TIMEOUT);
    assert!(read_there(&wire).is_none());
}

/// An empty key is an entry there, and an invalid frame here as in HAProxy.
#[test]
fn empty_keys() {
    let mut wire = hello(&string("2.0"), SIZE, &string(""));
    wire.extend_from_slice(b"\x00\x00");
    wire[3] += 2;
    assert_eq!(malformed(&wire), Malformed::EmptyKey);
    assert!(read_there(&wire).is_some());
}

/// A HELLO with ids is accepted there, and refused here as in HAProxy.
#[test]
fn hello_with_ids() {
    let mut wire = hello(&string("2.0"), SIZE, &string(""));
    wire[9] = 1;
    assert!(matches!(
        read_here(&wire),
        Err(DecodeError::NonZeroIds { .. })
    ));
    assert_eq!(read_there(&wire).unwrap().metadata().stream_id, 1);
}

/// max-frame-size must be UINT32 there. HAProxy takes any integer of an agent, and so
/// does this of HAProxy.
#[test]
fn size_of_another_integer_type() {
    for tag in [2, 4, 5] {
        let size = [&[tag], &SIZE[1..]].concat();
        let wire = hello(&string("2.0"), &size, &string(""));
        let Ok(Frame::HaproxyHello(ours)) = read_here(&wire) else {
            panic!("not a HELLO");
        };
        assert_eq!(ours.max_frame_size, Some(16_380));
        assert!(read_there(&wire).is_none());
    }
}

/// A key that is missing makes an error of the frame there, so that the status-code for
/// it (SPOE.txt §3.5: 5, 6) is lost. Here it is told.
#[test]
fn missing_keys() {
    let wire = frame(
        FrameType::HAPROXY_HELLO,
        &entry("capabilities", &string("")),
    );
    let Ok(Frame::HaproxyHello(ours)) = read_here(&wire) else {
        panic!("not a HELLO");
    };
    let refused = ours.negotiate(16_380, Capabilities::NONE);
    assert_eq!(refused, Err(Status::NO_VERSION));
    assert!(read_there(&wire).is_none());

    let wire = frame(FrameType::HAPROXY_DISCONNECT, b"");
    let Ok(Frame::HaproxyDisconnect(ours)) = read_here(&wire) else {
        panic!("not a DISCONNECT");
    };
    assert_eq!(ours.status, Status::UNKNOWN);
    assert!(read_there(&wire).is_none());
}

/// One version that is no semantic version spoils the list there; here it is skipped.
#[test]
fn odd_versions() {
    for versions in ["2.0,x", "02.0", "2.0,"] {
        let wire = hello(&string(versions), SIZE, &string(""));
        let Ok(Frame::HaproxyHello(ours)) = read_here(&wire) else {
            panic!("not a HELLO");
        };
        assert!(
            ours.negotiate(16_380, Capabilities::NONE).is_ok(),
            "{versions}"
        );
        assert!(read_there(&wire).is_none(), "{versions}");
    }
}

/// A known key with a value of the wrong type is as if it were missing there, and
/// malformed here.
#[test]
fn value_of_the_wrong_type() {
    let mut wire = hello(&string("2.0"), SIZE, &string(""));
    let check = entry("healthcheck", b"\x03\x01");
    wire.extend_from_slice(&check);
    wire[3] += u8::try_from(check.len()).unwrap();
    assert_eq!(malformed(&wire), Malformed::ValueType("healthcheck"));
    let frame = read_there(&wire).unwrap();
    let theirs = TheirHello::try_from(frame.payload()).unwrap();
    assert_eq!(theirs.healthcheck, None);
}

/// Capabilities match in any case there, and exactly here: the protocol text knows one
/// spelling. `async` and `fragmentation` are known here only: HAProxy up to 3.0 speaks
/// them.
#[test]
fn capabilities() {
    let wire = hello(&string("2.0"), SIZE, &string("Pipelining,async"));
    let Ok(Frame::HaproxyHello(ours)) = read_here(&wire) else {
        panic!("not a HELLO");
    };
    assert_eq!(ours.capabilities, Capabilities::ASYNC);
    let frame = read_there(&wire).unwrap();
    let theirs = TheirHello::try_from(frame.payload()).unwrap();
    assert_eq!(theirs.capabilities, [FrameCapabilities::Pipelining]);
}

/// A variable that HAProxy would not set, or set to another number, can be written
/// there; here the list of actions is void and says why.
#[test]
fn variables_that_haproxy_would_not_set() {
    let written = |name: &str, value: u64| {
        let theirs = frames::Ack::new(1, 1).set_var(VarScope::Session, name, value);
        theirs.serialize().is_ok()
    };
    for (name, value) in [("no spaces", 1), ("v", u64::MAX)] {
        let ours = Actions::new().set_var(Scope::Session, name, value);
        assert!(ours.error().is_some());
        assert!(written(name, value));
    }
}
