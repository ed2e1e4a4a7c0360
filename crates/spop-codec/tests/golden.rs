//! Frames as real HAProxy versions write them, byte by byte, and as they must be written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, Disconnect, Frame, FrameDecoder, HaproxyHello,
    NotifyBuilder, Scope, Status, TypedData,
};

/// Hex digits, and text in quotes, as one byte string.
fn bytes(picture: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in picture.split('"').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            out.push(u8::from_str_radix(pair, 16).unwrap());
        }
    }
    out
}

#[track_caller]
fn decode(wire: &[u8]) -> Frame {
    let mut input = BytesMut::from(wire);
    let raw = FrameDecoder::new(16_380).next(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    Frame::decode(raw).unwrap()
}

/// The picture decodes to `frame`, and `frame` encodes to the picture.
#[track_caller]
fn check(picture: &str, frame: &Frame) {
    let wire = bytes(picture);
    assert_eq!(decode(&wire), *frame);
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    assert_eq!(out, wire);
}

const UUID: &str = "b1f3a5c7-0123-4567-89ab-cdef01234567";

#[test]
fn hello_of_haproxy_since_3_1() {
    let picture = format!(
        r#"0000007b 01 00000001 00 00
        12"supported-versions" 08 03"2.0" 0e"max-frame-size" 03 fcf006
        0c"capabilities" 08 0a"pipelining" 09"engine-id" 08 24"{UUID}""#
    );
    check(
        &picture,
        &Frame::HaproxyHello(HaproxyHello::new(16_380, UUID)),
    );
}

#[test]
fn hello_of_haproxy_up_to_3_0() {
    let wire = bytes(&format!(
        r#"00000081 01 00000001 00 00
        12"supported-versions" 08 03"2.0" 0e"max-frame-size" 03 fcf006
        0c"capabilities" 08 10"pipelining,async" 09"engine-id" 08 24"{UUID}""#
    ));
    let Frame::HaproxyHello(hello) = decode(&wire) else {
        panic!("not a HELLO");
    };
    assert_eq!(
        hello.capabilities,
        Capabilities::PIPELINING | Capabilities::ASYNC
    );
    let agreed = hello.negotiate(16_380, Capabilities::PIPELINING).unwrap();
    assert_eq!(agreed.capabilities, Capabilities::PIPELINING);
}

#[test]
fn health_check() {
    check(
        r#"0000004e 01 00000001 00 00
        12"supported-versions" 08 03"2.0" 0e"max-frame-size" 03 fcf006
        0c"capabilities" 08 00 0b"healthcheck" 11"#,
        &Frame::HaproxyHello(HaproxyHello::health_check(16_380)),
    );
}

#[test]
fn agent_hello() {
    let hello = HaproxyHello::new(16_380, UUID);
    let agreed = hello.negotiate(16_380, Capabilities::PIPELINING).unwrap();
    check(
        r#"00000040 65 00000001 00 00
        07"version" 08 03"2.0" 0e"max-frame-size" 03 fcf006 0c"capabilities" 08 0a"pipelining""#,
        &Frame::AgentHello(AgentHello::new(&agreed)),
    );
}

#[test]
fn notify() {
    let args = [
        ("a", TypedData::from("x")),
        ("ip", TypedData::Ipv4([127, 0, 0, 1].into())),
    ];
    let notify = NotifyBuilder::new()
        .message("m1", args)
        .unwrap()
        .build(1, 1);
    check(
        r#"00000018 03 00000001 01 01 02"m1" 02 01"a" 08 01"x" 02"ip" 06 7f000001"#,
        &Frame::Notify(notify.clone()),
    );
    let message = notify.messages().next().unwrap();
    assert_eq!(message.name(), "m1");
    assert!(
        message
            .args()
            .map(|arg| (arg.name, arg.value))
            .eq(args.iter().map(|(name, value)| ((*name).into(), *value)))
    );
}

#[test]
fn empty_notify() {
    let empty = NotifyBuilder::new().build(0, 1);
    check("00000007 03 00000001 00 01", &Frame::Notify(empty));
}

#[test]
fn ack() {
    let actions = Actions::new().set_var(Scope::Transaction, "v", "ok");
    check(
        r#"00000010 67 00000001 01 01 01 03 02 01"v" 08 02"ok""#,
        &Frame::Ack(Ack::new(1, 1, &actions)),
    );
    let actions = Actions::new().unset_var(Scope::Session, "v");
    check(
        r#"0000000c 67 00000001 00 01 02 02 01 01"v""#,
        &Frame::Ack(Ack::new(0, 1, &actions)),
    );
}

#[test]
fn disconnect() {
    check(
        r#"00000022 66 00000001 00 00 0b"status-code" 03 00 07"message" 08 03"bye""#,
        &Frame::AgentDisconnect(Disconnect::with_message(Status::NORMAL, "bye")),
    );
}

#[test]
fn long_goodbyes_are_cut() {
    let mut out = BytesMut::new();
    let bye = Disconnect::with_message(Status::UNKNOWN, Bytes::from(vec![b'x'; 1000]));
    bye.encode(spop_codec::FrameType::AGENT_DISCONNECT, &mut out);
    let Frame::AgentDisconnect(bye) = decode(&out) else {
        panic!("not a DISCONNECT");
    };
    assert_eq!(bye.message.len(), 255);
}

#[test]
fn unknown_types_survive() {
    let wire = bytes("00000009 32 80000002 f0 00 05 ff");
    let Frame::Unknown(raw) = decode(&wire) else {
        panic!("type 50 is not assigned");
    };
    assert_eq!((raw.header.stream_id, raw.header.frame_id), (240, 5));
    let mut out = BytesMut::new();
    Frame::Unknown(raw).encode(&mut out);
    assert_eq!(out, wire);
}
