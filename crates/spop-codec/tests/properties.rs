//! Properties of whole frames and of the stream they come in.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use spop_codec::{
    Ack, Actions, AgentConfig, AgentConnection, Disconnect, Event, Frame, FrameDecoder,
    HaproxyHello, Notify, NotifyBuilder, Scope, Status, Text, TypedData,
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
        bytes().prop_map(Value::String),
        bytes().prop_map(Value::Binary),
    ]
}

type Messages = Vec<(String, Vec<(String, Value)>)>;

fn messages() -> impl Strategy<Value = Messages> {
    let args = proptest::collection::vec((".{0,12}", value()), 0..8);
    proptest::collection::vec((".{1,12}", args), 0..4)
}

fn notify(stream_id: u64, frame_id: u64, messages: &Messages) -> Notify {
    let mut builder = NotifyBuilder::new();
    for (name, args) in messages {
        let args = args
            .iter()
            .map(|(name, value)| (name.as_str(), value.view()));
        builder = builder.message(name, args).unwrap();
    }
    builder.build(stream_id, frame_id)
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out
}

fn decoded(mut wire: BytesMut) -> Frame {
    let mut decoder = FrameDecoder::new(u32::MAX);
    let raw = decoder.next(&mut wire).unwrap().unwrap();
    assert!(wire.is_empty());
    Frame::decode(raw).unwrap()
}

proptest! {
    #[test]
    fn notify_round_trip(stream_id: u64, frame_id: u64, messages in messages()) {
        let sent = notify(stream_id, frame_id, &messages);
        let Frame::Notify(read) = decoded(encoded(&Frame::Notify(sent.clone()))) else {
            panic!("not a NOTIFY");
        };
        prop_assert_eq!(&read, &sent);
        let contents: Vec<_> = read.messages().collect();
        prop_assert_eq!(contents.len(), messages.len());
        for (message, (name, args)) in contents.iter().zip(&messages) {
            prop_assert_eq!(message.name(), name.as_str());
            prop_assert!(message.args().map(|arg| (arg.name, arg.value))
                .eq(args.iter().map(|(name, value)| (Text::from(name.as_str()), value.view()))));
            let shared = read.share(message);
            let again = spop_codec::Message::from_bytes(&shared).unwrap();
            prop_assert_eq!(again.name(), message.name());
            prop_assert!(again.args().eq(message.args()));
        }
    }

    #[test]
    fn ack_round_trip(
        stream_id: u64,
        frame_id: u64,
        actions in proptest::collection::vec(("[A-Za-z0-9_.]{1,40}", proptest::option::of(value())), 0..6),
    ) {
        let mut list = Actions::new();
        for (name, value) in &actions {
            list = match value {
                Some(value) => list.set_var(Scope::Transaction, name, value.view()),
                None => list.unset_var(Scope::Request, name),
            };
        }
        let sent = Ack::new(stream_id, frame_id, &list);
        let Frame::Ack(read) = decoded(encoded(&Frame::Ack(sent.clone()))) else {
            panic!("not an ACK");
        };
        prop_assert_eq!(&read, &sent);
        prop_assert_eq!(read.actions().count(), if list.error().is_some() { 0 } else { actions.len() });
    }

    #[test]
    fn hello_and_goodbye_round_trip(size in proptest::option::of(any::<u64>()), status: u32,
        message in proptest::collection::vec(any::<u8>(), 0..256), check: bool) {
        let mut hello = if check {
            HaproxyHello::health_check(16_380)
        } else {
            HaproxyHello::new(16_380, message.clone())
        };
        hello.max_frame_size = size;
        let frame = Frame::HaproxyHello(hello);
        prop_assert_eq!(&decoded(encoded(&frame)), &frame);
        let frame = Frame::HaproxyDisconnect(Disconnect::with_message(Status(status), message));
        prop_assert_eq!(&decoded(encoded(&frame)), &frame);
    }

    /// No byte string makes the decoder panic, and what it accepts it writes back the same,
    /// save for reserved flags of values and keys that it does not know.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), frame_type in 0..110_u8) {
        let length = u32::try_from(bytes.len() + 7).unwrap();
        let mut wire = BytesMut::new();
        wire.extend_from_slice(&length.to_be_bytes());
        wire.extend_from_slice(&[frame_type, 0, 0, 0, 1, 0, 0]);
        wire.extend_from_slice(&bytes);
        let raw = FrameDecoder::new(1000).next(&mut wire).unwrap().unwrap();
        match Frame::decode(raw) {
            Ok(frame) => prop_assert_eq!(&decoded(encoded(&frame)), &frame),
            Err(error) => prop_assert!((1..=99).contains(&error.status().0)),
        }
    }

    /// A valid frame with a few bytes changed is read or refused, never worse.
    #[test]
    fn mutated(messages in messages(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut wire = encoded(&Frame::Notify(notify(1, 1, &messages)));
        for (at, byte) in changes {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let mut decoder = FrameDecoder::new(16_380);
        if let Ok(Some(raw)) = decoder.next(&mut wire)
            && let Ok(Frame::Notify(notify)) = Frame::decode(raw)
        {
            for message in notify.messages() {
                prop_assert!(message.args().count() <= 255);
            }
        }
    }

    /// Wherever the stream is cut, the same events come out.
    #[test]
    fn every_cut_gives_the_same_events(
        batch in proptest::collection::vec((any::<u64>(), messages()), 1..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut wire = BytesMut::new();
        HaproxyHello::new(65_536, "engine").encode(&mut wire);
        for (stream_id, messages) in &batch {
            notify(*stream_id, 1, messages).encode(&mut wire);
        }
        let wire = wire.freeze();
        let whole = events([wire.clone()]);
        prop_assert_eq!(whole.len(), batch.len() + 1);
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        places.extend([0, wire.len()]);
        places.sort_unstable();
        let parts = places.windows(2).map(|pair| wire.slice(pair[0]..pair[1]));
        prop_assert_eq!(&events(parts), &whole);
        let bytes = (0..wire.len()).map(|at| wire.slice(at..=at));
        prop_assert_eq!(&events(bytes), &whole);
    }

    /// Answered where it is or taken out first, a stream ends the same way: the same questions,
    /// the same answers, the same goodbye. Some of the frames are broken.
    #[test]
    fn peeking_changes_nothing(
        batch in proptest::collection::vec((any::<u64>(), messages()), 1..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        limit in 20..30_usize,
    ) {
        let mut wire = BytesMut::new();
        for (stream_id, messages) in batch.iter().cycle().take(25) {
            notify(*stream_id, 1, messages).encode(&mut wire);
        }
        for (place, byte) in changes {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        prop_assert_eq!(conversation(&wire, limit, true), conversation(&wire, limit, false));
    }
}

/// What an agent is asked in `wire` and what it says, answering at once.
fn conversation(wire: &[u8], limit: usize, peek: bool) -> (Vec<String>, BytesMut) {
    let now = Duration::ZERO;
    let config = AgentConfig::new()
        .with_max_frame_size(65_536)
        .with_max_in_flight(limit);
    let mut agent = AgentConnection::new(config, now);
    let mut input = BytesMut::new();
    HaproxyHello::new(65_536, "engine").encode(&mut input);
    input.extend_from_slice(wire);
    let mut seen = Vec::new();
    let asked = |stream_id: u64, frame_id: u64, messages: spop_codec::Messages<'_>| {
        let messages: Vec<_> = messages.map(|message| message.as_bytes()).collect();
        format!("{stream_id} {frame_id} {messages:?}")
    };
    loop {
        let peeked = peek.then(|| agent.peek_notify(&input)).flatten();
        if let Some(notify) = peeked {
            seen.push(asked(
                notify.stream_id(),
                notify.frame_id(),
                notify.messages(),
            ));
            let ticket = agent.accept(now, &notify);
            let len = notify.len();
            agent.ack(ticket, &Actions::new().set_var(Scope::Session, "n", 1));
            let _answered = input.split_to(len);
            continue;
        }
        match agent.poll_event(now, &mut input) {
            Some(Event::Notify(ticket, notify)) => {
                seen.push(asked(
                    notify.stream_id(),
                    notify.frame_id(),
                    notify.messages(),
                ));
                agent.ack(ticket, &Actions::new().set_var(Scope::Session, "n", 1));
            }
            Some(event) => seen.push(format!("{event:?}")),
            None => break,
        }
    }
    (seen, agent.transmit().split())
}

fn events(parts: impl IntoIterator<Item = Bytes>) -> Vec<String> {
    let now = Duration::ZERO;
    let config = AgentConfig::new().with_max_frame_size(65_536);
    let mut agent = AgentConnection::new(config, now);
    let mut input = BytesMut::new();
    let mut seen = Vec::new();
    for part in parts {
        input.extend_from_slice(&part);
        while let Some(event) = agent.poll_event(now, &mut input) {
            seen.push(format!("{event:?}"));
            if let Event::Notify(ticket, _) = event {
                agent.ack(ticket, &Actions::new());
            }
        }
    }
    seen
}

/// What did not come from [`Notify::share`] ends at the first bad argument, for good.
#[test]
fn arguments_end_at_the_first_bad_one() {
    let bytes = [1, b'm', 2, 0, 10, 0, 0];
    let mut args = spop_codec::Message::from_bytes(&bytes).unwrap().args();
    assert_eq!(args.next(), None);
    assert_eq!(args.next(), None);
}
