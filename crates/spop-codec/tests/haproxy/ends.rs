//! How a connection ends, and what does not end it.

use std::time::Duration;

use bytes::Bytes;
use spop_codec::{
    DecodeError, Disconnect, Flags, FrameType, HaproxyClosed, HaproxyEvent, Header, NotifyError,
    RawFrame, Status,
};

use super::{Haproxy, START, question};

#[test]
fn the_agent_says_goodbye() {
    let mut haproxy = Haproxy::pipelining();
    haproxy.ask(3);
    haproxy.written();
    haproxy.answer(3, 1);
    let bye = Disconnect::with_message(Status(42), "maintenance");
    bye.encode(FrameType::AGENT_DISCONNECT, &mut haproxy.input);
    assert_eq!(haproxy.answered(), (3, 1), "what came before counts");
    assert_eq!(haproxy.closed(), HaproxyClosed::ByPeer(bye));
    assert!(haproxy.written().is_empty(), "HAProxy does not reply");
    assert!(haproxy.connection.waiting().eq([(1, 1), (5, 1)]), "void");
    let after = haproxy.connection.notify(START, question());
    assert_eq!(after, Err(NotifyError::NotReady));
}

#[test]
fn haproxy_says_goodbye() {
    let mut haproxy = Haproxy::pipelining();
    haproxy.ask(1);
    haproxy.written();
    haproxy.connection.disconnect(START, Status::NORMAL);
    haproxy.connection.disconnect(START, Status::UNKNOWN);
    assert_eq!(haproxy.goodbye(), Status::NORMAL);
    assert_eq!(haproxy.connection.room(), 0);
    // An ACK that crosses it is void, whatever it is.
    haproxy.answer(1, 1);
    haproxy.answer(99, 1);
    assert_eq!(haproxy.event(), None);
    let reply = Disconnect::new(Status::NORMAL);
    reply.encode(FrameType::AGENT_DISCONNECT, &mut haproxy.input);
    assert_eq!(
        haproxy.closed(),
        HaproxyClosed::Disconnected(Some(reply.clone()))
    );
    assert!(haproxy.connection.waiting().eq([(1, 1)]), "void");

    let mut no_reply = Haproxy::pipelining();
    no_reply.ask(1);
    no_reply.connection.disconnect(START, Status::NORMAL);
    no_reply.now += Duration::from_secs(5);
    let end = Some(HaproxyEvent::Closed(HaproxyClosed::Disconnected(None)));
    assert_eq!(no_reply.timeout(), end);
    assert_eq!(no_reply.timeout(), None);
}

#[test]
fn unknown_frames_are_skipped_but_not_without_end() {
    let mut haproxy = Haproxy::pipelining();
    haproxy.ask(1);
    haproxy.written();
    let header = Header {
        frame_type: FrameType(104),
        flags: Flags(0),
        stream_id: 1,
        frame_id: 1,
    };
    let unknown = RawFrame::new(header, Bytes::from_static(b"anything"));
    unknown.encode(&mut haproxy.input);
    haproxy.answer(1, 1);
    haproxy.answered();
    for _ in 0..1000 {
        unknown.encode(&mut haproxy.input);
    }
    let flood = HaproxyClosed::Violation(DecodeError::UnknownFrameFlood);
    assert_eq!(haproxy.closed(), flood);
    assert_eq!(haproxy.goodbye(), Status::RESOURCE);
}
