//! The same work, done by this crate and by the published crate `spop`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark's fixtures are valid"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use spop::SpopFrame as _;
use spop_codec::{
    Ack, Actions, AgentConfig, AgentConnection, Event, FrameDecoder, HaproxyHello, Notify,
    NotifyBuilder, Scope, TypedData,
};

/// Frames that come with one read, as from a HAProxy that pipelines.
pub(crate) const BATCH: usize = 16;

/// A NOTIFY of 136 bytes with five arguments: an address, a port, three texts.
pub(crate) fn notify() -> Notify {
    let args = [
        ("ip", TypedData::Ipv4([192, 0, 2, 7].into())),
        ("port", 443_i64.into()),
        ("method", "GET".into()),
        ("path", "/an/example/of/a/path?with=a&query=string".into()),
        ("agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox".into()),
    ];
    let notify = NotifyBuilder::new().message("check-client", args).unwrap();
    notify.build(1, 1)
}

/// The same with 2 KiB more, in an argument that nobody reads.
pub(crate) fn large_notify() -> Notify {
    let body = "x".repeat(2048);
    let args = [
        ("ip", TypedData::Ipv4([192, 0, 2, 7].into())),
        ("body", body.as_str().into()),
    ];
    let notify = NotifyBuilder::new().message("check-client", args).unwrap();
    notify.build(1, 1)
}

/// [`BATCH`] times the frame, as read from a socket.
pub(crate) fn batch(notify: &Notify) -> Vec<u8> {
    let mut out = BytesMut::new();
    for _ in 0..BATCH {
        notify.encode(&mut out);
    }
    out.to_vec()
}

/// This crate: cuts and checks every frame of `wire`, and visits every value.
pub(crate) fn decode_and_visit(input: &mut BytesMut, wire: &[u8]) -> u64 {
    let mut decoder = FrameDecoder::new(16_380);
    let mut sum = 0;
    input.extend_from_slice(wire);
    while let Some(raw) = decoder.next(input).unwrap() {
        let notify = Notify::decode(raw).unwrap();
        for message in notify.messages() {
            sum += message.name().len() as u64;
            for arg in message.args() {
                sum += visit(arg.value);
            }
        }
    }
    sum
}

fn visit(value: TypedData<'_>) -> u64 {
    match value {
        TypedData::Ipv4(ip) => u64::from(ip.to_bits()),
        TypedData::String(text) => text.len() as u64,
        other => other.to_u64().unwrap_or(0),
    }
}

/// This crate: cuts and checks every frame of `wire`, and looks at no argument.
pub(crate) fn decode(input: &mut BytesMut, wire: &[u8]) -> usize {
    let mut decoder = FrameDecoder::new(16_380);
    let mut messages = 0;
    input.extend_from_slice(wire);
    while let Some(raw) = decoder.next(input).unwrap() {
        let notify = Notify::decode(raw).unwrap();
        messages += notify.messages().count();
    }
    messages
}

/// Crate `spop`: parses every frame of `wire`, and visits every value.
pub(crate) fn spop_decode_and_visit(mut wire: &[u8]) -> u64 {
    let mut sum = 0;
    while !wire.is_empty() {
        let (rest, frame) = spop::parser::parse_frame(wire).unwrap();
        wire = rest;
        let spop::frame::FramePayload::ListOfMessages(messages) = frame.payload() else {
            panic!("not a NOTIFY");
        };
        for message in messages.iter() {
            sum += message.name.len() as u64;
            for (_, value) in &message.args {
                sum += match value {
                    spop::TypedData::IPv4(ip) => u64::from(ip.to_bits()),
                    spop::TypedData::String(text) => text.len() as u64,
                    spop::TypedData::Int64(number) => number.cast_unsigned(),
                    _ => 0,
                };
            }
        }
    }
    sum
}

/// This crate: an ACK with one variable, appended to `out`.
pub(crate) fn encode_ack(out: &mut BytesMut) {
    let actions = Actions::new().set_var(Scope::Session, "ip_score", black_box(100));
    Ack::new(1, 1, &actions).encode(out);
}

/// Crate `spop`: the same.
pub(crate) fn spop_encode_ack() -> Vec<u8> {
    let score = spop::TypedData::Int32(black_box(100));
    let ack = spop::frames::Ack::new(1, 1);
    ack.set_var(spop::actions::VarScope::Session, "ip_score", score)
        .serialize()
        .unwrap()
}

/// This crate: a connection from HELLO to the ACKs of one batch.
pub(crate) fn exchange(hello: &[u8], wire: &[u8]) -> usize {
    let mut agent = AgentConnection::new(AgentConfig::new(), Duration::ZERO);
    let mut input = BytesMut::with_capacity(hello.len() + wire.len());
    input.extend_from_slice(hello);
    input.extend_from_slice(wire);
    let actions = Actions::new().set_var(Scope::Session, "ip_score", 100);
    while let Some(event) = agent.poll_event(Duration::ZERO, &mut input) {
        if let Event::Notify(ticket, _) = event {
            agent.ack(ticket, &actions);
        }
    }
    agent.transmit().len()
}

pub(crate) fn hello() -> Vec<u8> {
    let mut out = BytesMut::new();
    HaproxyHello::new(16_380, "b1f3a5c7-0123-4567-89ab-cdef01234567").encode(&mut out);
    out.to_vec()
}
