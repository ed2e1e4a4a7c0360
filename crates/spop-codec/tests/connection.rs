//! The agent's side as a script: frames and the time in, events and frames out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use spop_codec::{
    AckOutcome, AckTicket, Action, Actions, AgentConfig, AgentConnection, Capabilities, Closed,
    DecodeError, Disconnect, Event, Frame, FrameDecoder, FrameType, HaproxyHello, Malformed,
    Notify, NotifyBuilder, Scope, Status, TypedData,
};

const START: Duration = Duration::from_secs(1000);

/// An agent's connection, its input, and what it wrote.
struct Agent {
    connection: AgentConnection,
    input: BytesMut,
    now: Duration,
}

impl Agent {
    fn new(config: AgentConfig) -> Self {
        Self {
            connection: AgentConnection::new(config, START),
            input: BytesMut::new(),
            now: START,
        }
    }

    /// One that has shaken hands with a HAProxy of default settings.
    fn ready() -> Self {
        let mut agent = Self::new(AgentConfig::new());
        agent.send(|out| HaproxyHello::new(16_380, "engine").encode(out));
        assert!(matches!(agent.event(), Some(Event::Ready { .. })));
        assert!(matches!(agent.written()[..], [Frame::AgentHello(_)]));
        agent
    }

    fn send(&mut self, frame: impl FnOnce(&mut BytesMut)) {
        frame(&mut self.input);
    }

    fn event(&mut self) -> Option<Event> {
        self.connection.poll_event(self.now, &mut self.input)
    }

    #[track_caller]
    fn notified(&mut self) -> (AckTicket, Notify) {
        match self.event() {
            Some(Event::Notify(ticket, notify)) => (ticket, notify),
            other => panic!("{other:?} instead of a NOTIFY"),
        }
    }

    #[track_caller]
    fn closed(&mut self) -> Closed {
        match self.event() {
            Some(Event::Closed(closed)) => {
                assert!(self.connection.is_closed());
                assert!(self.event().is_none());
                closed
            }
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Every frame in the transmit buffer.
    fn written(&mut self) -> Vec<Frame> {
        let mut decoder = FrameDecoder::new(u32::MAX);
        let mut out = self.connection.transmit().split();
        let mut frames = Vec::new();
        while let Some(raw) = decoder.next(&mut out).unwrap() {
            frames.push(Frame::decode(raw).unwrap());
        }
        assert!(out.is_empty());
        frames
    }

    /// The status of the one frame written, a DISCONNECT.
    #[track_caller]
    fn goodbye(&mut self) -> Status {
        match &self.written()[..] {
            [Frame::AgentDisconnect(bye)] => bye.status,
            other => panic!("{other:?} instead of a DISCONNECT"),
        }
    }
}

fn notify(stream_id: u64, frame_id: u64) -> impl FnOnce(&mut BytesMut) {
    move |out| {
        let builder = NotifyBuilder::new().message("m", []).unwrap();
        builder.build(stream_id, frame_id).encode(out);
    }
}

/// A frame by hand: type, flags, ids of one byte, payload.
fn raw(frame_type: u8, flags: u32, ids: [u8; 2], payload: &[u8]) -> impl FnOnce(&mut BytesMut) {
    move |out| {
        out.put_u32(u32::try_from(7 + payload.len()).unwrap());
        out.put_u8(frame_type);
        out.put_u32(flags);
        out.put_slice(&ids);
        out.put_slice(payload);
    }
}

#[test]
fn ids_are_echoed_in_any_order() {
    let mut agent = Agent::ready();
    let ids = [(0, 1), (1, 1), (u64::MAX, 7), (1, 1)];
    for (stream_id, frame_id) in ids {
        agent.send(notify(stream_id, frame_id));
    }
    let mut tickets: Vec<_> = ids.iter().map(|_| agent.notified().0).collect();
    assert_eq!(agent.connection.in_flight(), 4);
    let actions = Actions::new().set_var(Scope::Session, "ip_score", 100);
    while let Some(ticket) = tickets.pop() {
        assert_eq!(agent.connection.ack(ticket, &actions), AckOutcome::Queued);
    }
    assert_eq!(agent.connection.in_flight(), 0);
    let answered: Vec<_> = agent
        .written()
        .into_iter()
        .map(|frame| match frame {
            Frame::Ack(ack) => (ack.stream_id(), ack.frame_id()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answered, [(1, 1), (u64::MAX, 7), (1, 1), (0, 1)]);
}

#[test]
fn a_health_check_gets_the_hello_and_nothing_else() {
    let mut agent = Agent::new(AgentConfig::new());
    agent.send(|out| HaproxyHello::health_check(16_380).encode(out));
    assert_eq!(agent.closed(), Closed::HealthCheck);
    let written = agent.written();
    let [Frame::AgentHello(hello)] = &written[..] else {
        panic!("{written:?}");
    };
    assert_eq!(hello.version.as_deref(), Some(&b"2.0"[..]));
    assert_eq!(hello.max_frame_size, Some(16_380));
    assert_eq!(hello.capabilities, Some(Capabilities::NONE));
}

#[test]
fn a_health_check_is_refused_before_the_end() {
    let mut agent = Agent::new(AgentConfig::new());
    agent.connection.refuse_checks();
    agent.send(|out| HaproxyHello::health_check(16_380).encode(out));
    assert_eq!(agent.closed(), Closed::HealthCheckRefused);
    assert_eq!(agent.goodbye(), Status::RESOURCE);

    let mut agent = Agent::new(AgentConfig::new());
    agent.connection.refuse_checks();
    agent.send(|out| HaproxyHello::new(16_380, "engine").encode(out));
    assert!(matches!(agent.event(), Some(Event::Ready { .. })));
}

#[test]
fn negotiation() {
    let hello = |change: fn(&mut HaproxyHello)| {
        let mut hello = HaproxyHello::new(16_380, "engine");
        change(&mut hello);
        let mut agent = Agent::new(AgentConfig::new());
        agent.send(|out| hello.encode(out));
        match agent.event() {
            Some(Event::Ready { negotiated, .. }) => Ok(negotiated.max_frame_size),
            Some(Event::Closed(Closed::Refused(status))) => {
                assert_eq!(agent.goodbye(), status);
                Err(status)
            }
            other => panic!("{other:?}"),
        }
    };
    let versions = |list: &'static str| {
        move |hello: &mut HaproxyHello| {
            hello.supported_versions = Some(Bytes::from_static(list.as_bytes()));
        }
    };
    let accepts = |list: &'static str| {
        let mut hello = HaproxyHello::new(16_380, "engine");
        versions(list)(&mut hello);
        hello.negotiate(16_380, Capabilities::NONE).map(|_| ())
    };
    for list in ["2.0", "2.0,1.5", " 1.0 , 2.0 ", "2.10", "1.0,2.0,3.0"] {
        assert_eq!(accepts(list), Ok(()), "{list}");
    }
    for list in ["1.0", "3.0", "20.0", "2", "", "2.x", "+2.0", "two"] {
        assert_eq!(accepts(list), Err(Status::UNSUPPORTED_VERSION), "{list}");
    }
    assert_eq!(
        hello(|h| h.supported_versions = None),
        Err(Status::NO_VERSION)
    );
    assert_eq!(
        hello(|h| h.max_frame_size = None),
        Err(Status::NO_MAX_FRAME_SIZE)
    );
    assert_eq!(
        hello(|h| h.max_frame_size = Some(255)),
        Err(Status::BAD_MAX_FRAME_SIZE)
    );
    assert_eq!(hello(|h| h.max_frame_size = Some(256)), Ok(256));
    assert_eq!(hello(|h| h.max_frame_size = Some(1 << 20)), Ok(16_380));
    assert_eq!(hello(|h| h.max_frame_size = Some(1 << 40)), Ok(16_380));
    assert_eq!(hello(|h| h.engine_id = None), Ok(16_380));
    assert_eq!(hello(|h| h.capabilities = Capabilities::NONE), Ok(16_380));
}

#[test]
fn hello_keys_of_every_type() {
    let mut payload = Vec::new();
    let mut key = |name: &str, value: TypedData<'_>| {
        payload.push(u8::try_from(name.len()).unwrap());
        payload.extend_from_slice(name.as_bytes());
        value.encode(&mut payload);
    };
    key("supported-versions", "2.0".into());
    key("max-frame-size", 16_380_i64.into());
    key("null", TypedData::Null);
    key("bool", false.into());
    key("v6", TypedData::Ipv6([0; 16].into()));
    key("bytes", TypedData::Binary(&[0, 255]));
    let mut agent = Agent::new(AgentConfig::new());
    agent.send(raw(1, 1, [0, 0], &payload));
    assert!(matches!(agent.event(), Some(Event::Ready { .. })));
}

#[track_caller]
fn refused(mut agent: Agent, frame: impl FnOnce(&mut BytesMut), status: Status) -> Closed {
    agent.send(frame);
    let closed = agent.closed();
    assert_eq!(agent.goodbye(), status);
    closed
}

#[test]
fn violations_and_their_status() {
    let fresh = || Agent::new(AgentConfig::new());
    let invalid = Status::INVALID_FRAME;

    refused(fresh(), notify(1, 1), invalid);
    refused(fresh(), raw(1, 1, [0, 1], &[]), invalid);
    refused(
        fresh(),
        raw(1, 0, [0, 0], &[]),
        Status::FRAGMENTATION_NOT_SUPPORTED,
    );
    refused(
        fresh(),
        |out| out.put_slice(b"GET / HTTP/1.1\r\n"),
        Status::TOO_BIG,
    );
    refused(fresh(), |out| out.put_u32(u32::MAX), Status::TOO_BIG);
    let string_size = [&[14][..], b"max-frame-size", &[8, 1, b'9']].concat();
    refused(fresh(), raw(1, 1, [0, 0], &string_size), invalid);
    refused(fresh(), raw(1, 1, [0, 0], &[0, 0]), invalid);
    refused(fresh(), raw(1, 1, [0, 0], &[1, b'k', 15]), invalid);

    let hello = |out: &mut BytesMut| HaproxyHello::new(16_380, "engine").encode(out);
    refused(Agent::ready(), hello, invalid);
    for agents_own in [101, 102, 103] {
        refused(Agent::ready(), raw(agents_own, 1, [0, 0], &[]), invalid);
    }
    refused(Agent::ready(), |out| out.put_u32(0), invalid);
    refused(Agent::ready(), |out| out.put_u32(6), invalid);
    refused(Agent::ready(), |out| out.put_u32(16_381), Status::TOO_BIG);
    refused(
        Agent::ready(),
        raw(3, 0, [1, 1], &[]),
        Status::FRAGMENTATION_NOT_SUPPORTED,
    );
    refused(
        Agent::ready(),
        raw(0, 0, [1, 1], &[]),
        Status::FRAGMENTATION_NOT_SUPPORTED,
    );
    refused(
        Agent::ready(),
        raw(0, 1, [1, 1], &[]),
        Status::INTERLACED_FRAMES,
    );
    // A message that says three arguments and has none.
    let closed = refused(Agent::ready(), raw(3, 1, [1, 1], &[1, b'm', 3]), invalid);
    assert_eq!(
        closed,
        Closed::Violation(DecodeError::Malformed {
            what: Malformed::Truncated,
            offset: 7
        })
    );
    // Ids that run over the end of the frame are not a wait for more bytes.
    refused(
        Agent::ready(),
        |out| {
            out.put_u32(7);
            out.put_slice(&[3, 0, 0, 0, 1, 0xff, 0xff]);
        },
        invalid,
    );
}

#[test]
fn answers_that_are_ready_leave_before_the_goodbye() {
    let mut agent = Agent::ready();
    agent.send(notify(1, 1));
    agent.send(notify(3, 1));
    let (first, _) = agent.notified();
    let (late, _) = agent.notified();
    agent.connection.ack(first, &Actions::new());
    agent.send(|out| out.put_u32(0));
    agent.closed();
    assert!(matches!(
        agent.written()[..],
        [Frame::Ack(_), Frame::AgentDisconnect(_)]
    ));
    assert_eq!(
        agent.connection.ack(late, &Actions::new()),
        AckOutcome::Closed
    );
    assert!(agent.written().is_empty());
}

#[test]
fn haproxy_says_goodbye() {
    let mut agent = Agent::ready();
    let bye = Disconnect::with_message(Status(4711), vec![0xff; 1000]);
    agent.send(|out| bye.encode(FrameType::HAPROXY_DISCONNECT, out));
    let Closed::ByPeer(received) = agent.closed() else {
        panic!("the peer closed");
    };
    assert_eq!(received.status, Status(4711));
    assert_eq!(agent.goodbye(), Status::NORMAL);
}

#[test]
fn unknown_frames_are_skipped_but_not_without_end() {
    let mut agent = Agent::ready();
    agent.send(raw(50, 0, [9, 9], b"anything"));
    agent.send(raw(4, 1, [0, 0], &[]));
    agent.send(notify(1, 1));
    let (ticket, _) = agent.notified();
    agent.connection.ack(ticket, &Actions::new());
    agent.written();
    for _ in 0..1000 {
        agent.send(raw(50, 0, [9, 9], &[]));
    }
    assert_eq!(
        agent.closed(),
        Closed::Violation(DecodeError::UnknownFrameFlood)
    );
    assert_eq!(agent.goodbye(), Status::RESOURCE);
}

#[test]
fn an_aborted_notify_is_answered_without_a_handler() {
    let mut agent = Agent::ready();
    agent.send(raw(3, 3, [5, 1], &[1, b'm', 0]));
    assert!(agent.event().is_none());
    assert_eq!(agent.connection.in_flight(), 0);
    let written = agent.written();
    let [Frame::Ack(ack)] = &written[..] else {
        panic!("{written:?}");
    };
    assert_eq!((ack.stream_id(), ack.actions().count()), (5, 0));
}

#[test]
fn void_and_oversized_actions_become_an_empty_ack() {
    let mut agent = Agent::ready();
    let long = "x".repeat(800);
    let cases = [
        (
            Actions::new().set_var(Scope::Session, "a-b", 1),
            AckOutcome::Void,
        ),
        (
            Actions::new().set_var(Scope::Session, "", 1),
            AckOutcome::Void,
        ),
        (
            Actions::new().set_var(Scope::Session, "v", u64::MAX),
            AckOutcome::Void,
        ),
        (
            Actions::new().set_var(Scope::Session, "v", long.as_str()),
            AckOutcome::TooBig,
        ),
        // 4 + 7 bytes of frame, 5 of action, 3 of string: 781 are left of 800.
        (
            Actions::new().set_var(Scope::Session, "v", &long[..782]),
            AckOutcome::TooBig,
        ),
        (
            Actions::new().set_var(Scope::Session, "v", &long[..781]),
            AckOutcome::Queued,
        ),
    ];
    for (actions, outcome) in cases {
        agent.send(notify(1, 1));
        let (ticket, _) = agent.notified();
        assert_eq!(agent.connection.ack(ticket, &actions), outcome);
        let wire = agent.connection.transmit().len();
        assert!(wire <= 800, "{wire}");
        let written = agent.written();
        let [Frame::Ack(ack)] = &written[..] else {
            panic!("{written:?}");
        };
        assert_eq!(
            ack.actions().count(),
            usize::from(outcome == AckOutcome::Queued)
        );
    }
}

#[test]
fn without_pipelining_an_ack_may_fill_the_agreed_frame() {
    let mut agent = Agent::new(AgentConfig::new());
    let mut hello = HaproxyHello::new(16_380, "engine");
    hello.capabilities = Capabilities::NONE;
    agent.send(|out| hello.encode(out));
    assert!(matches!(agent.event(), Some(Event::Ready { .. })));
    agent.written();
    agent.send(notify(1, 1));
    let (ticket, _) = agent.notified();
    let value = vec![0; 16_380];
    let fits = Actions::new().set_var(Scope::Session, "v", &value[..16_363]);
    assert_eq!(agent.connection.ack(ticket, &fits), AckOutcome::Queued);
    // HAProxy finds at most 16383 unread bytes.
    assert_eq!(agent.connection.transmit().len(), 16_383);
}

#[test]
fn reading_pauses_at_the_limit() {
    let mut agent = Agent::ready();
    for _ in 0..65 {
        agent.send(notify(1, 1));
    }
    let mut tickets: Vec<_> = (0..64).map(|_| agent.notified().0).collect();
    assert!(!agent.connection.wants_read());
    assert!(agent.event().is_none());
    agent
        .connection
        .ack(tickets.pop().unwrap(), &Actions::new());
    assert!(agent.connection.wants_read());
    let _next = agent.notified();
}

#[test]
fn drain_answers_what_came_in_and_says_goodbye() {
    let mut agent = Agent::ready();
    agent.send(notify(1, 1));
    agent.send(notify(3, 1));
    let (first, _) = agent.notified();
    agent.connection.drain();
    let (second, _) = agent.notified();
    assert!(agent.event().is_none());
    agent.connection.ack(second, &Actions::new());
    agent.connection.ack(first, &Actions::new());
    assert_eq!(agent.closed(), Closed::Drained);
    let written = agent.written();
    assert!(matches!(
        &written[..],
        [Frame::Ack(_), Frame::Ack(_), Frame::AgentDisconnect(bye)] if bye.status == Status::NORMAL
    ));
}

#[test]
fn timeouts_in_virtual_time() {
    let config = AgentConfig::new()
        .with_hello_timeout(Duration::from_secs(1))
        .with_frame_timeout(Duration::from_secs(2))
        .with_idle_timeout(Duration::from_secs(60));
    let mut agent = Agent::new(config.clone());
    assert_eq!(
        agent.connection.poll_timeout(),
        Some(START + Duration::from_secs(1))
    );
    assert!(agent.connection.handle_timeout(START).is_none());
    let late = agent
        .connection
        .handle_timeout(START + Duration::from_secs(1));
    assert!(matches!(late, Some(Event::Closed(Closed::HelloTimeout))));
    assert!(agent.written().is_empty(), "closed without a word");

    let mut agent = Agent::new(config);
    agent.send(|out| HaproxyHello::new(16_380, "engine").encode(out));
    assert!(matches!(agent.event(), Some(Event::Ready { .. })));
    agent.written();
    assert_eq!(
        agent.connection.poll_timeout(),
        Some(START + Duration::from_secs(60))
    );

    // One byte of a frame, and no more.
    agent.now += Duration::from_secs(10);
    agent.send(|out| out.put_u8(0));
    assert!(agent.event().is_none());
    agent.now += Duration::from_secs(1);
    assert!(agent.event().is_none());
    assert_eq!(
        agent.connection.poll_timeout(),
        Some(START + Duration::from_secs(12))
    );
    let late = agent
        .connection
        .handle_timeout(START + Duration::from_secs(12));
    assert!(matches!(late, Some(Event::Closed(Closed::FrameTimeout))));
    assert_eq!(agent.goodbye(), Status::TIMEOUT);
}

#[test]
fn frames_before_the_hello_win_no_time() {
    let mut agent = Agent::new(AgentConfig::new());
    let due = agent.connection.poll_timeout();
    agent.now += Duration::from_secs(1);
    agent.send(raw(50, 0, [9, 9], b"anything"));
    assert!(agent.event().is_none());
    assert_eq!(agent.connection.poll_timeout(), due);
}

#[test]
fn a_request_in_flight_is_not_idle() {
    let mut agent = Agent::ready();
    agent.send(notify(1, 1));
    let (ticket, _) = agent.notified();
    assert_eq!(agent.connection.poll_timeout(), None);
    agent.connection.ack(ticket, &Actions::new());
    assert!(agent.connection.poll_timeout().is_some());
}

#[test]
fn actions_read_back() {
    let actions = Actions::new()
        .set_var(Scope::Session, "score", 100)
        .unset_var(Scope::Response, "gone");
    assert!(actions.iter().eq([
        Action::SetVar {
            scope: Scope::Session,
            name: "score".into(),
            value: TypedData::Int32(100)
        },
        Action::UnsetVar {
            scope: Scope::Response,
            name: "gone".into()
        },
    ]));
}
