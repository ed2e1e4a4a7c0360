//! Frames captured from real HAProxy versions hold what HAProxy was asked to send.
//!
//! `vectors/README.md` says where they come from; `vectors/spoe.conf` is what was asked.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use spop_codec::{
    Capabilities, Frame, FrameDecoder, HaproxyHello, Message, Notify, RawFrame, Reassembled,
    Reassembly, Status, TypedData,
};

/// Up to 3.0, without and from 3.1 on with the engine that knows no fragments.
const OLD: [&str; 2] = ["2.6", "3.0"];
const NEW: [&str; 2] = ["3.2", "3.4"];

fn versions() -> impl Iterator<Item = &'static str> {
    OLD.into_iter().chain(NEW)
}

/// The frames of one file. Each is one that the codec writes back byte by byte.
fn frames(version: &str, name: &str) -> Vec<RawFrame> {
    let file = format!("tests/vectors/haproxy-{version}-{name}.hex");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let wire = bytes(line);
            let mut input = BytesMut::from(&wire[..]);
            let raw = FrameDecoder::new(16_380).next(&mut input).unwrap().unwrap();
            assert!(input.is_empty(), "{version} {name}");
            let mut again = BytesMut::new();
            raw.encode(&mut again);
            assert_eq!(again, wire, "{version} {name}");
            raw
        })
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The only frame of a file, which the codec writes back byte by byte.
fn frame(version: &str, name: &str) -> Frame {
    let raw = frames(version, name);
    let [raw] = &raw[..] else {
        panic!("{} frames in {version} {name}", raw.len());
    };
    let frame = Frame::decode(raw.clone()).unwrap();
    let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
    frame.encode(&mut ours);
    raw.encode(&mut theirs);
    assert_eq!(ours, theirs, "{version} {name}");
    frame
}

fn notify(version: &str, name: &str) -> Notify {
    match frame(version, &format!("notify-{name}")) {
        Frame::Notify(notify) => notify,
        other => panic!("{other:?}"),
    }
}

fn hello(version: &str, name: &str) -> HaproxyHello {
    match frame(version, name) {
        Frame::HaproxyHello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

/// Names and values of a message.
fn args<'a>(message: &Message<'a>) -> Vec<(&'a str, TypedData<'a>)> {
    let args = message.args();
    args.map(|arg| (arg.name.to_str().unwrap(), arg.value))
        .collect()
}

fn only(notify: &Notify) -> Message<'_> {
    let mut messages = notify.messages();
    let message = messages.next().unwrap();
    assert!(messages.next().is_none());
    message
}

#[test]
fn hellos() {
    let async_too = Capabilities::PIPELINING | Capabilities::ASYNC;
    for version in versions() {
        let hello = hello(version, "hello");
        assert_eq!(hello.supported_versions.as_deref(), Some(&b"2.0"[..]));
        assert_eq!(hello.max_frame_size, Some(16_380));
        assert_eq!(hello.engine_id.unwrap().len(), 36);
        assert!(!hello.healthcheck);
        let announced = if OLD.contains(&version) {
            async_too
        } else {
            Capabilities::PIPELINING
        };
        assert_eq!(hello.capabilities, announced, "{version}");
    }
}

#[test]
fn health_checks() {
    for version in versions() {
        let hello = hello(version, "health-check");
        assert_eq!(hello, HaproxyHello::health_check(16_380), "{version}");
    }
}

#[test]
fn every_type() {
    for version in versions() {
        let notify = notify(version, "types");
        let message = only(&notify);
        assert_eq!(message.name(), "types");
        let expected = [
            ("null", TypedData::Null),
            ("true", TypedData::Bool(true)),
            ("false", TypedData::Bool(false)),
            ("zero", TypedData::Int64(0)),
            ("one_byte", TypedData::Int64(239)),
            ("two_bytes", TypedData::Int64(240)),
            ("negative", TypedData::Int64(-1)),
            ("highest", TypedData::Int64(i64::MAX)),
            ("lowest", TypedData::Int64(i64::MIN)),
            ("v4", TypedData::Ipv4(Ipv4Addr::new(192, 0, 2, 7))),
            (
                "v6",
                TypedData::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
            ),
            ("string", "text".into()),
            ("empty", "".into()),
            ("binary", TypedData::Binary(&[0, 0xff, 0x80])),
            ("method", "GET".into()),
        ];
        assert_eq!(args(&message), expected, "{version}");
    }
}

#[test]
fn what_a_request_has() {
    for version in versions() {
        let notify = notify(version, "text");
        let message = only(&notify);
        let args = args(&message);
        let value = |name| args.iter().find(|arg| arg.0 == name).unwrap().1;
        assert_eq!(value("src"), TypedData::Ipv4(Ipv4Addr::LOCALHOST));
        assert!(matches!(value("src_port"), TypedData::Int64(1024..=65_535)));
        assert_eq!(value("path"), "/text".into());
        assert_eq!(value("query"), "q=1".into());
        assert_eq!(value("missing"), TypedData::Null);
        let agent = value("agent").to_text().unwrap();
        assert_eq!(agent.as_bytes(), b"curl\xff");
        assert!(agent.to_str().is_err(), "no UTF-8");
        let TypedData::Binary(headers) = value("headers") else {
            panic!("{:?}", value("headers"));
        };
        assert!(headers.starts_with(b"\x04host"));
    }
}

#[test]
fn arguments_without_a_name() {
    for version in versions() {
        let notify = notify(version, "unnamed");
        let expected = [
            ("", "a".into()),
            ("", TypedData::Int64(1)),
            ("", TypedData::Ipv4(Ipv4Addr::LOCALHOST)),
        ];
        assert_eq!(args(&only(&notify)), expected, "{version}");
    }
}

#[test]
fn arguments_of_the_same_name() {
    for version in versions() {
        let notify = notify(version, "repeated");
        let message = only(&notify);
        let expected = [
            ("a", TypedData::Int64(1)),
            ("a", TypedData::Int64(2)),
            ("b", "x".into()),
            ("a", "three".into()),
        ];
        assert_eq!(args(&message), expected, "{version}");
        assert_eq!(message.arg("a"), Some(TypedData::Int64(1)), "the first");
    }
}

#[test]
fn several_messages() {
    for version in versions() {
        let notify = notify(version, "first");
        let messages: Vec<_> = notify
            .messages()
            .map(|message| (message.name().to_str().unwrap(), args(&message)))
            .collect();
        let expected = [
            ("first", vec![("n", TypedData::Int64(1))]),
            ("second", vec![]),
            ("third", vec![("n", TypedData::Int64(3))]),
        ];
        assert_eq!(messages, expected, "{version}");
    }
}

#[test]
fn as_many_arguments_as_fit() {
    for version in versions() {
        let notify = notify(version, "many");
        let expected: Vec<_> = (1..=255).map(|n| ("", TypedData::Int64(n))).collect();
        assert_eq!(args(&only(&notify)), expected, "{version}");
    }
}

#[test]
fn stream_ids() {
    for version in OLD {
        let notify = notify(version, "types");
        assert_eq!((notify.stream_id(), notify.frame_id()), (0, 1), "{version}");
    }
    for version in NEW {
        let notify = notify(version, "types");
        assert_eq!((notify.stream_id(), notify.frame_id()), (1, 1), "{version}");
    }
}

#[test]
fn fragments() {
    for version in OLD {
        for (name, number) in [("large", 3), ("many", 4)] {
            let fragments = frames(version, &format!("fragments-{name}"));
            assert_eq!(fragments.len(), number, "{version} {name}");
            let mut reassembly = Reassembly::new(16_380);
            let mut whole = Vec::new();
            for fragment in fragments {
                match reassembly.push(fragment).unwrap() {
                    Reassembled::Frame(frame) => whole.push(Frame::decode(frame).unwrap()),
                    other => assert_eq!(other, Reassembled::Pending),
                }
            }
            let [Frame::Notify(put_together)] = &whole[..] else {
                panic!("{whole:?}");
            };
            let at_once = notify(version, name);
            assert_eq!(args(&only(put_together)), args(&only(&at_once)));
        }
    }
}

#[test]
fn disconnects() {
    let expected = OLD
        .map(|version| (version, Status::TIMEOUT))
        .into_iter()
        .chain(NEW.map(|version| (version, Status::BAD_MAX_FRAME_SIZE)));
    for (version, status) in expected {
        let Frame::HaproxyDisconnect(bye) = frame(version, "disconnect") else {
            panic!("no DISCONNECT");
        };
        assert_eq!(bye.status, status, "{version}");
        assert_eq!(bye.message, Bytes::from_static(status.reason().as_bytes()));
    }
}
