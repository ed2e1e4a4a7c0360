//! A NOTIFY in fragments, as HAProxy up to 3.0 sends it to an agent that takes them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use spop_codec::{
    AckTicket, Actions, AgentConfig, AgentConnection, Capabilities, Closed, DecodeError, Event,
    Flags, Frame, FrameDecoder, FrameType, HaproxyHello, Header, Notify, NotifyBuilder, RawFrame,
    Reassembled, Reassembly, Status, TypedData,
};

const LIMIT: u32 = 1000;
const START: Duration = Duration::from_secs(1000);

/// An agent's connection that takes fragments, after the handshake.
struct Agent {
    connection: AgentConnection,
    input: BytesMut,
}

impl Agent {
    fn new() -> Self {
        let config = AgentConfig::new().with_fragmentation(LIMIT);
        assert_eq!(config.validate(), Ok(()));
        let mut agent = Self {
            connection: AgentConnection::new(config, START),
            input: BytesMut::new(),
        };
        HaproxyHello::new(16_380, "engine").encode(&mut agent.input);
        assert!(matches!(agent.event(), Some(Event::Ready { .. })));
        let [Frame::AgentHello(hello)] = &agent.written()[..] else {
            panic!("no HELLO");
        };
        let announced = Capabilities::PIPELINING | Capabilities::FRAGMENTATION;
        assert_eq!(hello.capabilities, Some(announced));
        agent
    }

    fn send(&mut self, frame_type: FrameType, flags: Flags, ids: (u64, u64), payload: &[u8]) {
        fragment(frame_type, flags, ids, payload).encode(&mut self.input);
    }

    fn event(&mut self) -> Option<Event> {
        self.connection.poll_event(START, &mut self.input)
    }

    #[track_caller]
    fn notified(&mut self) -> (AckTicket, Notify) {
        match self.event() {
            Some(Event::Notify(ticket, notify)) => (ticket, notify),
            other => panic!("{other:?} instead of a NOTIFY"),
        }
    }

    #[track_caller]
    fn interlaced(mut self) {
        let interlaced = Closed::Violation(DecodeError::Interlaced);
        match self.event() {
            Some(Event::Closed(closed)) => assert_eq!(closed, interlaced),
            other => panic!("{other:?} instead of the end"),
        }
        let written = self.written();
        let Some(Frame::AgentDisconnect(bye)) = written.last() else {
            panic!("{written:?}");
        };
        assert_eq!(bye.status, Status::INTERLACED_FRAMES);
    }

    fn written(&mut self) -> Vec<Frame> {
        let mut decoder = FrameDecoder::new(u32::MAX);
        let mut out = self.connection.transmit().split();
        let mut frames = Vec::new();
        while let Some(raw) = decoder.next(&mut out).unwrap() {
            frames.push(Frame::decode(raw).unwrap());
        }
        frames
    }
}

const NOTIFY: FrameType = FrameType::NOTIFY;
const UNSET: FrameType = FrameType::UNSET;
const MORE: Flags = Flags(0);
const FIN: Flags = Flags::FIN;
const GIVEN_UP: Flags = Flags(Flags::FIN.0 | Flags::ABORT.0);

fn fragment(frame_type: FrameType, flags: Flags, ids: (u64, u64), payload: &[u8]) -> RawFrame {
    let header = Header {
        frame_type,
        flags,
        stream_id: ids.0,
        frame_id: ids.1,
    };
    RawFrame::new(header, Bytes::copy_from_slice(payload))
}

/// A message `m` with the STRING `x` of `size` bytes.
fn payload(size: usize) -> Vec<u8> {
    let value = "v".repeat(size);
    let notify = NotifyBuilder::new()
        .message("m", [("x", value.as_str().into())])
        .unwrap()
        .build(0, 0);
    let mut wire = BytesMut::new();
    notify.encode(&mut wire);
    wire[11..].to_vec()
}

#[test]
fn one_notify_and_one_ack() {
    let mut agent = Agent::new();
    let whole = payload(600);
    // Inside the string.
    agent.send(NOTIFY, MORE, (0, 1), &whole[..231]);
    agent.send(UNSET, MORE, (0, 1), &whole[231..462]);
    assert!(agent.event().is_none());
    assert_eq!(agent.connection.in_flight(), 0);
    agent.send(UNSET, FIN, (0, 1), &whole[462..]);
    let (ticket, notify) = agent.notified();
    let message = notify.messages().next().unwrap();
    assert_eq!(message.arg("x"), Some("v".repeat(600).as_str().into()));
    assert!(agent.written().is_empty());
    agent.connection.ack(ticket, &Actions::new());
    let [Frame::Ack(ack)] = &agent.written()[..] else {
        panic!("no ACK");
    };
    assert_eq!((ack.stream_id(), ack.frame_id()), (0, 1));
    assert!(!ack.is_aborted());
}

#[test]
fn haproxy_gives_up() {
    let mut agent = Agent::new();
    agent.send(NOTIFY, MORE, (7, 1), &payload(600)[..231]);
    agent.send(UNSET, GIVEN_UP, (7, 1), &[]);
    assert!(agent.event().is_none());
    assert!(agent.written().is_empty(), "no ACK");
    // Nothing of it is left.
    agent.send(NOTIFY, FIN, (9, 1), &payload(3));
    let (_ticket, notify) = agent.notified();
    assert_eq!(notify.stream_id(), 9);
}

#[test]
fn mixed_up() {
    let mut nothing_to_continue = Agent::new();
    nothing_to_continue.send(UNSET, MORE, (1, 1), &[]);
    nothing_to_continue.interlaced();

    let mut continued_after_the_end = Agent::new();
    let whole = payload(3);
    continued_after_the_end.send(NOTIFY, MORE, (1, 1), &whole);
    continued_after_the_end.send(UNSET, FIN, (1, 1), &[]);
    let (_ticket, _) = continued_after_the_end.notified();
    continued_after_the_end.send(UNSET, FIN, (1, 1), &[]);
    continued_after_the_end.interlaced();

    for ids in [(2, 1), (1, 2)] {
        let mut other_ids = Agent::new();
        other_ids.send(NOTIFY, MORE, (1, 1), &[]);
        other_ids.send(UNSET, MORE, ids, &[]);
        other_ids.interlaced();
    }
    for flags in [MORE, FIN] {
        let mut another_notify = Agent::new();
        another_notify.send(NOTIFY, MORE, (1, 1), &[]);
        another_notify.send(NOTIFY, flags, (3, 1), &[]);
        another_notify.interlaced();
    }
}

#[test]
fn too_big_is_answered_and_dropped() {
    let mut agent = Agent::new();
    let piece = [b'x'; 400];
    agent.send(NOTIFY, MORE, (4, 1), &piece);
    agent.send(UNSET, MORE, (4, 1), &piece);
    assert!(agent.event().is_none());
    agent.send(UNSET, MORE, (4, 1), &piece);
    let given_up = agent.event();
    assert!(matches!(
        given_up,
        Some(Event::NotifyTooBig {
            stream_id: 4,
            frame_id: 1
        })
    ));
    let [Frame::Ack(ack)] = &agent.written()[..] else {
        panic!("no ACK");
    };
    assert_eq!((ack.stream_id(), ack.frame_id()), (4, 1));
    assert!(ack.is_aborted());

    // HAProxy sends the rest all the same.
    for _ in 0..100 {
        agent.send(UNSET, MORE, (4, 1), &piece);
    }
    agent.send(UNSET, FIN, (4, 1), &piece);
    assert!(agent.event().is_none());
    assert!(agent.written().is_empty());
    agent.send(NOTIFY, FIN, (5, 1), &payload(3));
    let (_ticket, notify) = agent.notified();
    assert_eq!(notify.stream_id(), 5);
    agent.send(UNSET, FIN, (4, 1), &[]);
    agent.interlaced();
}

#[test]
fn a_notify_may_follow_one_that_was_given_up() {
    let mut reassembly = Reassembly::new(10);
    let first = fragment(NOTIFY, MORE, (1, 1), &[0; 11]);
    assert!(matches!(
        reassembly.push(first),
        Ok(Reassembled::TooBig { .. })
    ));
    assert!(!reassembly.is_pending(), "nothing is kept");
    let next = fragment(NOTIFY, FIN, (3, 1), &[0; 11]);
    assert_eq!(
        reassembly.push(next.clone()),
        Ok(Reassembled::Frame(next)),
        "whole frames of any size pass"
    );
}

#[test]
fn whole_frames_are_not_copied() {
    let mut reassembly = Reassembly::new(1 << 20);
    for frame_type in [NOTIFY, FrameType::HAPROXY_HELLO, FrameType(50)] {
        let frame = fragment(frame_type, FIN, (1, 1), &[0; 100]);
        let Ok(Reassembled::Frame(passed)) = reassembly.push(frame.clone()) else {
            panic!("kept");
        };
        assert_eq!(passed, frame);
        assert_eq!(passed.payload.as_ptr(), frame.payload.as_ptr());
    }
}

#[test]
fn the_limit_is_exact() {
    for (size, fits) in [(LIMIT, true), (LIMIT + 1, false)] {
        let mut reassembly = Reassembly::new(LIMIT);
        let bytes = vec![0; size as usize];
        let (first, last) = bytes.split_at(500);
        let first = fragment(NOTIFY, MORE, (1, 1), first);
        assert_eq!(reassembly.push(first), Ok(Reassembled::Pending));
        let last = reassembly.push(fragment(UNSET, FIN, (1, 1), last)).unwrap();
        assert_eq!(matches!(last, Reassembled::Frame(_)), fits, "{size}");
        // The last one was the end in either case.
        let after = reassembly.push(fragment(UNSET, FIN, (1, 1), &[]));
        assert_eq!(after, Err(DecodeError::Interlaced));
    }
}

#[test]
fn other_frames_pass_between() {
    let mut agent = Agent::new();
    let whole = payload(600);
    agent.send(NOTIFY, MORE, (0, 1), &whole[..300]);
    agent.send(FrameType(50), MORE, (9, 9), b"unknown");
    agent.send(UNSET, FIN, (0, 1), &whole[300..]);
    let (ticket, _) = agent.notified();
    agent.connection.ack(ticket, &Actions::new());
    agent.send(NOTIFY, MORE, (1, 1), &whole[..300]);
    let bye = spop_codec::Disconnect::new(Status::NORMAL);
    bye.encode(FrameType::HAPROXY_DISCONNECT, &mut agent.input);
    assert!(matches!(
        agent.event(),
        Some(Event::Closed(Closed::ByPeer(_)))
    ));
}

#[test]
fn all_fragments_together_have_the_time_of_one_frame() {
    let mut agent = Agent::new();
    agent.connection.drain();
    let mut now = START;
    agent.send(NOTIFY, MORE, (1, 1), &[]);
    for _ in 0..4 {
        assert!(
            agent.connection.poll_event(now, &mut agent.input).is_none(),
            "a drain waits for the rest"
        );
        assert_eq!(
            agent.connection.poll_timeout(),
            Some(START + Duration::from_secs(5))
        );
        now += Duration::from_secs(1);
        agent.send(UNSET, MORE, (1, 1), &[]);
    }
    let late = agent
        .connection
        .handle_timeout(START + Duration::from_secs(5));
    assert!(matches!(late, Some(Event::Closed(Closed::FrameTimeout))));
}

#[test]
fn a_malformed_whole_is_placed_as_one_frame() {
    let mut agent = Agent::new();
    agent.send(NOTIFY, MORE, (1, 1), &[1, b'm', 1]);
    agent.send(UNSET, FIN, (1, 1), &[1, b'a', 15]);
    let Some(Event::Closed(Closed::Violation(error))) = agent.event() else {
        panic!("accepted");
    };
    assert_eq!(error.status(), Status::INVALID_FRAME);
    assert!(matches!(error, DecodeError::Malformed { offset: 7, .. }));
}

#[test]
fn off_unless_asked() {
    let mut connection = AgentConnection::new(AgentConfig::new(), START);
    let mut input = BytesMut::new();
    HaproxyHello::new(16_380, "engine").encode(&mut input);
    let Some(Event::Ready { negotiated, .. }) = connection.poll_event(START, &mut input) else {
        panic!("no handshake");
    };
    assert_eq!(negotiated.capabilities, Capabilities::PIPELINING);
    fragment(NOTIFY, MORE, (1, 1), &[]).encode(&mut input);
    assert!(matches!(
        connection.poll_event(START, &mut input),
        Some(Event::Closed(Closed::Violation(DecodeError::Fragmented)))
    ));
    for limit in [0, 255, AgentConfig::MAX_FRAME_SIZE + 1] {
        let config = AgentConfig::new().with_fragmentation(limit);
        assert!(config.validate().is_err(), "{limit}");
    }
}

proptest! {
    /// Wherever a NOTIFY is cut, what is put together is what was cut.
    #[test]
    fn every_cut_gives_the_same_notify(
        sizes in proptest::collection::vec(0..300_usize, 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let values: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![b'v'; size]).collect();
        let args = values.iter().map(|value| ("a", TypedData::Binary(value)));
        let notify = NotifyBuilder::new().message("m", args).unwrap().build(300, 1);
        let mut wire = BytesMut::new();
        notify.encode(&mut wire);
        let raw = FrameDecoder::new(16_380).next(&mut wire).unwrap().unwrap();
        let whole = raw.payload.clone();

        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        places.extend([0, whole.len()]);
        places.sort_unstable();
        let last = places.len() - 2;
        let mut reassembly = Reassembly::new(16_380);
        for (at, range) in places.windows(2).enumerate() {
            let frame_type = if at == 0 { NOTIFY } else { UNSET };
            let flags = if at == last { FIN } else { MORE };
            let part = fragment(frame_type, flags, (300, 1), &whole[range[0]..range[1]]);
            match reassembly.push(part).unwrap() {
                Reassembled::Frame(frame) => {
                    prop_assert_eq!(at, last);
                    prop_assert_eq!(&frame, &raw);
                    prop_assert_eq!(Frame::decode(frame).unwrap(), Frame::Notify(notify.clone()));
                }
                other => prop_assert_eq!(other, Reassembled::Pending),
            }
        }
        prop_assert!(!reassembly.is_pending());
    }

    /// Whatever comes, no more is kept than the limit allows, and the end of every NOTIFY is
    /// one of the four.
    #[test]
    fn any_fragments(frames in proptest::collection::vec(
        (any::<bool>(), 0..4_u32, 0..2_u64, 0..200_usize), 0..40,
    )) {
        let mut reassembly = Reassembly::new(500);
        for (first, flags, stream_id, size) in frames {
            let frame_type = if first { NOTIFY } else { UNSET };
            let frame = fragment(frame_type, Flags(flags), (stream_id, 1), &vec![0; size]);
            match reassembly.push(frame) {
                Ok(Reassembled::Frame(whole)) => {
                    prop_assert!(whole.payload.len() <= 500);
                    prop_assert_eq!(whole.header.frame_type, NOTIFY);
                    prop_assert!(whole.header.flags.contains(FIN));
                }
                Ok(_) => {}
                Err(error) => {
                    prop_assert_eq!(error, DecodeError::Interlaced);
                    break;
                }
            }
        }
    }
}
