//! Against the other SPOP codec in Rust, crate `spop` 0.13: where both speak, they read the
//! same from the same bytes.
//!
//! It reads HAPROXY-HELLO, HAPROXY-DISCONNECT and NOTIFY, and writes these (but NOTIFY) and
//! AGENT-HELLO, AGENT-DISCONNECT and ACK. Where the two differ on purpose, a test in
//! `differences.rs` shows it, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod differences;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use spop::frames::haproxy_disconnect::HaproxyDisconnect as TheirDisconnect;
use spop::frames::haproxy_hello::HaproxyHello as TheirHello;
use spop::frames::{self, FrameCapabilities};
use spop::parser::parse_frame;
use spop::{FramePayload, SpopFrame, TypedData as TheirData, VarScope};
use spop_codec::{
    Ack, Action, Actions, Capabilities, DecodeError, Disconnect, Frame, FrameDecoder, FrameType,
    HaproxyHello, Malformed, Message, NotifyBuilder, Scope, Status, Text, TypedData, varint,
};

/// A value that can be borrowed from, for building frames.
#[derive(Debug, Clone)]
enum Value {
    Plain(TypedData<'static>),
    String(Vec<u8>),
    Binary(Vec<u8>),
}

impl Value {
    fn view(&self) -> TypedData<'_> {
        match self {
            Self::Plain(data) => *data,
            Self::String(bytes) => TypedData::String(Text::new(bytes)),
            Self::Binary(bytes) => TypedData::Binary(bytes),
        }
    }
}

/// Any value; a STRING that is not UTF-8 among them.
fn value() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        Just(Value::Plain(TypedData::Null)),
        any::<bool>().prop_map(|v| Value::Plain(v.into())),
        any::<i32>().prop_map(|v| Value::Plain(v.into())),
        any::<u32>().prop_map(|v| Value::Plain(v.into())),
        any::<i64>().prop_map(|v| Value::Plain(v.into())),
        any::<u64>().prop_map(|v| Value::Plain(v.into())),
        any::<[u8; 4]>().prop_map(|v| Value::Plain(TypedData::Ipv4(v.into()))),
        any::<[u8; 16]>().prop_map(|v| Value::Plain(TypedData::Ipv6(v.into()))),
        ".{0,40}".prop_map(|text| Value::String(text.into_bytes())),
        bytes().prop_map(Value::String),
        bytes().prop_map(Value::Binary),
    ]
}

/// Messages by name, each with its arguments by name.
type Messages = Vec<(String, Vec<(String, Value)>)>;

fn messages() -> impl Strategy<Value = Messages> {
    let args = proptest::collection::vec((".{0,12}", value()), 0..8);
    proptest::collection::vec((".{0,12}", args), 0..4)
}

fn notify_of(stream_id: u64, frame_id: u64, messages: &Messages) -> BytesMut {
    let mut builder = NotifyBuilder::new();
    for (name, args) in messages {
        let args = args.iter().map(|(name, value)| (&name[..], value.view()));
        builder = builder.message(name, args).unwrap();
    }
    let mut wire = BytesMut::new();
    builder.build(stream_id, frame_id).encode(&mut wire);
    wire
}

/// The same value in its types. It keeps text as UTF-8 only ([`differences::text`]).
fn in_their_types(value: TypedData<'_>) -> TheirData {
    match value {
        TypedData::Null => TheirData::Null,
        TypedData::Bool(value) => value.into(),
        TypedData::Int32(value) => value.into(),
        TypedData::Uint32(value) => value.into(),
        TypedData::Int64(value) => value.into(),
        TypedData::Uint64(value) => value.into(),
        TypedData::Ipv4(ip) => ip.into(),
        TypedData::Ipv6(ip) => ip.into(),
        TypedData::String(text) => lossy(text).into(),
        TypedData::Binary(bytes) => bytes.to_vec().into(),
        other => panic!("{other:?} is new"),
    }
}

fn lossy(text: Text<'_>) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

/// The one frame that `wire` is, as this crate reads it.
fn read_here(wire: &[u8]) -> Result<Frame, DecodeError> {
    let mut input = BytesMut::from(wire);
    let raw = FrameDecoder::new(u32::MAX).next(&mut input)?.unwrap();
    assert!(input.is_empty());
    Frame::decode(raw)
}

/// The one frame that `wire` is, as crate `spop` reads it.
fn read_there(wire: &[u8]) -> Option<Box<dyn SpopFrame>> {
    let (rest, frame) = parse_frame(wire).ok()?;
    assert!(rest.is_empty());
    Some(frame)
}

#[track_caller]
fn written_there(frame: &dyn SpopFrame) -> Frame {
    read_here(&frame.serialize().unwrap()).unwrap()
}

/// A frame with ids 0, by hand.
fn frame(frame_type: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    wire.put_u32(u32::try_from(7 + payload.len()).unwrap());
    wire.put_slice(&[frame_type.0, 0, 0, 0, 1, 0, 0]);
    wire.put_slice(payload);
    wire
}

/// Asserts that both read the same from a NOTIFY.
fn assert_same_messages<'a>(ours: impl Iterator<Item = Message<'a>>, theirs: &dyn SpopFrame) {
    let FramePayload::ListOfMessages(theirs) = theirs.payload() else {
        panic!("{theirs:?}");
    };
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(lossy(ours.name()), theirs.name);
        let ours = ours.args();
        let ours: Vec<_> = ours
            .map(|arg| (lossy(arg.name), in_their_types(arg.value)))
            .collect();
        assert_eq!(ours, theirs.args);
    }
}

proptest! {
    #[test]
    fn values_have_the_same_bytes(value in value()) {
        let value = value.view();
        let mut ours = Vec::new();
        value.encode(&mut ours);
        prop_assert_eq!(TheirData::from_bytes(&ours), Some(in_their_types(value)));
        if value.to_text().is_none_or(|text| text.to_str().is_ok()) {
            let mut theirs = Vec::new();
            in_their_types(value).to_bytes(&mut theirs);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn integers_have_the_same_bytes(value: u64, shift in 0..64_u32) {
        let value = value >> shift;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        varint::encode(value, &mut ours);
        spop::encode_varint_into(value, &mut theirs);
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(varint::encoded_len(value), spop::varint_len(value));
        prop_assert_eq!(spop::decode_varint(&ours).unwrap(), (&[][..], value));
    }

    #[test]
    fn notify(stream_id: u64, frame_id: u64, messages in messages()) {
        let wire = notify_of(stream_id, frame_id, &messages);
        let theirs = read_there(&wire).unwrap();
        let ids = theirs.metadata();
        prop_assert_eq!((ids.stream_id, ids.frame_id), (stream_id, frame_id));
        let Ok(Frame::Notify(ours)) = read_here(&wire) else {
            panic!("not a NOTIFY");
        };
        prop_assert_eq!((ours.stream_id(), ours.frame_id()), (stream_id, frame_id));
        assert_same_messages(ours.messages(), &*theirs);
    }

    /// Of a NOTIFY with a few bytes changed both read the same, or both refuse it; unless it
    /// is one of the [`differences`].
    #[test]
    fn notify_with_other_bytes(
        messages in messages(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut wire = notify_of(1, 1, &messages);
        // Neither the length field, the type nor the flags: what is left is the codec's work.
        let from = 4 + 1 + 4;
        for (at, byte) in changes {
            let at = from + at.index(wire.len() - from);
            wire[at] = byte;
        }
        match (read_here(&wire), read_there(&wire)) {
            (Ok(Frame::Notify(ours)), Some(theirs)) => {
                assert_same_messages(ours.messages(), &*theirs);
            }
            (Err(_), None) => {}
            (Err(DecodeError::Malformed { what: BEYOND_A_TYPE | BEYOND_64_BITS, .. }), Some(_)) => {}
            (ours, theirs) => panic!("{ours:?} here, {theirs:?} there"),
        }
    }

    #[test]
    fn haproxy_hello(
        max_frame_size: u32,
        engine_id in proptest::option::of(".{0,40}"),
        pipelining: bool,
        healthcheck: bool,
        versions in proptest::collection::vec((0..4_u32, 0..4_u32), 1..4),
    ) {
        let mut ours = HaproxyHello::new(max_frame_size, "");
        let versions: Vec<_> = versions.iter().map(|(a, b)| format!(" {a}.{b}")).collect();
        ours.supported_versions = Some(versions.join(",").into());
        ours.engine_id = engine_id.clone().map(Into::into);
        ours.healthcheck = healthcheck;
        if !pipelining {
            ours.capabilities = Capabilities::NONE;
        }
        let mut wire = BytesMut::new();
        ours.encode(&mut wire);

        let frame = read_there(&wire).unwrap();
        let theirs = TheirHello::try_from(frame.payload()).unwrap();
        let written: Vec<_> = theirs
            .supported_versions
            .iter()
            .map(|version| format!(" {}.{}", version.major, version.minor))
            .collect();
        prop_assert_eq!(written, versions);
        prop_assert_eq!(theirs.max_frame_size, max_frame_size);
        prop_assert_eq!(theirs.capabilities == [FrameCapabilities::Pipelining], pipelining);
        prop_assert_eq!(theirs.healthcheck, healthcheck.then_some(true));
        prop_assert_eq!(&theirs.engine_id, &engine_id);

        // What each makes of it, as an agent.
        let limit = 16_380;
        let agreed = ours.negotiate(limit, Capabilities::PIPELINING);
        match (theirs.negotiate_version(), theirs.negotiate_max_frame_size(limit)) {
            (None, _) => prop_assert_eq!(agreed, Err(Status::UNSUPPORTED_VERSION)),
            (_, Err(status)) => prop_assert_eq!(agreed, Err(Status(status.to_u32()))),
            (Some(_), Ok(size)) => prop_assert_eq!(agreed.unwrap().max_frame_size, size),
        }

        // And back: it writes the same HELLO in another order of keys.
        let Frame::HaproxyHello(back) = written_there(&*frame) else {
            panic!("not a HELLO");
        };
        prop_assert_eq!(back.max_frame_size, ours.max_frame_size);
        prop_assert_eq!(back.capabilities, ours.capabilities);
        prop_assert_eq!(back.engine_id, ours.engine_id);
        prop_assert_eq!(back.healthcheck, ours.healthcheck);
    }

    #[test]
    fn haproxy_disconnect(status: u32, message in ".{0,60}") {
        let ours = Disconnect::with_message(Status(status), message.clone());
        let mut wire = BytesMut::new();
        ours.encode(FrameType::HAPROXY_DISCONNECT, &mut wire);
        let frame = read_there(&wire).unwrap();
        let theirs = TheirDisconnect::try_from(frame.payload()).unwrap();
        prop_assert_eq!(theirs.status_code, status);
        prop_assert_eq!(theirs.message, message);
        prop_assert_eq!(written_there(&*frame), Frame::HaproxyDisconnect(ours));
    }

    #[test]
    fn agent_hello(max_frame_size: u32, pipelining: bool) {
        let theirs = frames::AgentHello {
            version: spop::SUPPORTED_VERSION,
            max_frame_size,
            capabilities: if pipelining { vec![FrameCapabilities::Pipelining] } else { vec![] },
        };
        let Frame::AgentHello(ours) = written_there(&theirs) else {
            panic!("not a HELLO");
        };
        prop_assert_eq!(ours.version.as_deref(), Some(&b"2.0"[..]));
        prop_assert_eq!(ours.max_frame_size, Some(max_frame_size.into()));
        let announced = ours.capabilities.unwrap();
        prop_assert_eq!(announced.contains(Capabilities::PIPELINING), pipelining);
    }

    #[test]
    fn agent_disconnect(status_code: u32, message in ".{0,60}") {
        let theirs = frames::AgentDisconnect { status_code, message: message.clone() };
        let ours = Disconnect::with_message(Status(status_code), message);
        prop_assert_eq!(written_there(&theirs), Frame::AgentDisconnect(ours));
    }

    /// An ACK is the same bytes, whoever writes it.
    #[test]
    fn ack(
        stream_id: u64,
        frame_id: u64,
        vars in proptest::collection::vec(
            (0..5_usize, "[A-Za-z0-9_.]{1,40}", proptest::option::of(value())),
            0..6,
        ),
    ) {
        let mut ours = Actions::new();
        let mut theirs = frames::Ack::new(stream_id, frame_id);
        for (scope, name, value) in &vars {
            let (scope, their_scope) = SCOPES[*scope];
            // Values that one of the two refuses to write, or rewrites, are left out.
            let value = value.as_ref().map(Value::view);
            let value = value.filter(|value| match value {
                TypedData::Uint64(_) => value.to_i64().is_some(),
                TypedData::String(text) => text.to_str().is_ok(),
                _ => true,
            });
            if let Some(value) = value {
                ours = ours.set_var(scope, name, value);
                theirs = theirs.set_var(their_scope, name, in_their_types(value));
            } else {
                ours = ours.unset_var(scope, name);
                theirs = theirs.unset_var(their_scope, name);
            }
        }
        let mut wire = BytesMut::new();
        Ack::new(stream_id, frame_id, &ours).encode(&mut wire);
        prop_assert_eq!(&theirs.serialize().unwrap(), &wire);
        let Ok(Frame::Ack(read)) = read_here(&wire) else {
            panic!("not an ACK");
        };
        prop_assert!(read.actions().eq(ours.iter()));
        prop_assert_eq!(read.actions().count(), vars.len());
    }

    /// A variable may have any name there; here any name is read.
    #[test]
    fn ack_with_any_name(name in ".{0,80}", value in value()) {
        let theirs = frames::Ack::new(1, 1)
            .set_var(VarScope::Process, &name, in_their_types(value.view()));
        let Frame::Ack(ours) = written_there(&theirs) else {
            panic!("not an ACK");
        };
        let Some(Action::SetVar { name: read, value: set, .. }) = ours.actions().next() else {
            panic!("no SET-VAR");
        };
        prop_assert_eq!(read, &name[..]);
        prop_assert_eq!(in_their_types(set), in_their_types(value.view()));
    }
}

const SCOPES: [(Scope, VarScope); 5] = [
    (Scope::Process, VarScope::Process),
    (Scope::Session, VarScope::Session),
    (Scope::Transaction, VarScope::Transaction),
    (Scope::Request, VarScope::Request),
    (Scope::Response, VarScope::Response),
];

/// [`differences::integers_beyond_their_type`] and [`differences::integers_beyond_64_bits`].
const BEYOND_A_TYPE: Malformed = Malformed::IntegerRange;
const BEYOND_64_BITS: Malformed = Malformed::Varint;
