//! NOTIFY frames and what becomes of them.

use std::time::Duration;

use bytes::BufMut;
use spop_codec::{
    Ack, Actions, Capabilities, DecodeError, HaproxyClosed, HaproxyConfig, HaproxyEvent,
    HaproxyHello, NotifyBuilder, NotifyError, Scope, Status, TypedData,
};

use super::{Haproxy, MILLISECOND, START, agent_hello, config, question};

/// A question whose length field says `length`.
fn question_of(length: usize) -> NotifyBuilder {
    // Header 7, message 3, argument 1 + 1, length of the bytes 2.
    let value = vec![0; length - 14];
    let builder = NotifyBuilder::new().message("m", [("", TypedData::Binary(&value))]);
    builder.unwrap()
}

#[test]
fn twenty_in_flight_and_answers_in_any_order() {
    let mut haproxy = Haproxy::pipelining();
    assert_eq!(haproxy.connection.room(), 20);
    let asked = haproxy.ask(20);
    assert!(asked.iter().copied().eq((1..40).step_by(2)));
    assert_eq!(haproxy.connection.room(), 0);
    let one_more = haproxy.connection.notify(haproxy.now, question());
    assert_eq!(one_more, Err(NotifyError::Full));
    assert_eq!(haproxy.written().len(), 20);

    for stream_id in asked.iter().rev() {
        haproxy.answer(*stream_id, 1);
        assert_eq!(haproxy.answered(), (*stream_id, 1));
    }
    assert_eq!(haproxy.connection.in_flight(), 0);
    assert_eq!(haproxy.ask(1), [41], "ids are not used twice");
}

#[test]
fn one_in_flight_without_pipelining() {
    let mut haproxy = Haproxy::ready(config(), Capabilities::NONE);
    haproxy.ask(1);
    assert_eq!(haproxy.connection.room(), 0);
    haproxy.answer(1, 1);
    haproxy.answered();
    assert_eq!(haproxy.connection.room(), 1);

    let mut silent = HaproxyHello::new(16_380, "engine");
    silent.capabilities = Capabilities::NONE;
    let haproxy = Haproxy::ready(HaproxyConfig::new(silent), Capabilities::PIPELINING);
    assert_eq!(haproxy.connection.room(), 1, "both have to announce it");
}

#[test]
fn ids_of_the_callers_choice() {
    let mut haproxy = Haproxy::pipelining();
    // As HAProxy up to 3.0 counts.
    for (stream_id, frame_id) in [(0, 1), (0, 2), (1, 1), (u64::MAX, u64::MAX)] {
        let notify = question().build(stream_id, frame_id);
        let now = haproxy.now;
        assert_eq!(haproxy.connection.notify_with_ids(now, &notify), Ok(()));
        let again = haproxy.connection.notify_with_ids(now, &notify);
        assert!(matches!(again, Err(NotifyError::InFlight { .. })));
    }
    assert_eq!(haproxy.written().len(), 4);
    assert_eq!(haproxy.ask(1), [3], "1 is in flight");
    for ids in [(u64::MAX, u64::MAX), (0, 2), (0, 1)] {
        haproxy.answer(ids.0, ids.1);
        assert_eq!(haproxy.answered(), ids);
    }
    let waiting: Vec<_> = haproxy.connection.waiting().collect();
    assert_eq!(waiting, [(1, 1), (3, 1)]);
}

#[test]
fn an_answer_says_how_long_it_took() {
    let mut haproxy = Haproxy::pipelining();
    haproxy.ask(1);
    haproxy.now += 7 * MILLISECOND;
    let actions = Actions::new().set_var(Scope::Session, "ip_score", 100);
    Ack::new(1, 1, &actions).encode(&mut haproxy.input);
    let Some(HaproxyEvent::Ack { ack, elapsed }) = haproxy.event() else {
        panic!("no ACK");
    };
    assert_eq!(elapsed, 7 * MILLISECOND);
    assert!(ack.actions().eq(actions.iter()));
}

#[test]
fn each_notify_has_a_timeout_of_its_own() {
    let config = config().with_processing_timeout(15 * MILLISECOND);
    let mut haproxy = Haproxy::ready(config, Capabilities::PIPELINING);
    assert_eq!(haproxy.connection.poll_timeout(), None);
    haproxy.ask(2);
    haproxy.now += MILLISECOND;
    haproxy.ask(1);
    let due = START + 15 * MILLISECOND;
    assert_eq!(haproxy.connection.poll_timeout(), Some(due));
    haproxy.now = due - Duration::from_nanos(1);
    assert_eq!(haproxy.timeout(), None);
    haproxy.answer(1, 1);
    haproxy.answered();
    haproxy.now = due;
    let timed_out = |stream_id| {
        Some(HaproxyEvent::TimedOut {
            stream_id,
            frame_id: 1,
        })
    };
    assert_eq!(haproxy.timeout(), timed_out(3));
    assert_eq!(haproxy.timeout(), None);
    assert_eq!(haproxy.connection.poll_timeout(), Some(due + MILLISECOND));
    assert_eq!(haproxy.connection.room(), 19, "a slot is free at once");

    // The connection goes on, and the late answer changes nothing.
    haproxy.answer(3, 1);
    assert!(matches!(haproxy.event(), Some(HaproxyEvent::LateAck(ack)) if ack.stream_id() == 3));
    haproxy.answer(5, 1);
    assert_eq!(haproxy.answered(), (5, 1));
    // Nor does a second one.
    haproxy.answer(5, 1);
    assert!(matches!(haproxy.event(), Some(HaproxyEvent::LateAck(_))));
}

#[test]
fn answers_that_nobody_asked_for() {
    for (stream_id, frame_id) in [(0, 1), (5, 1), (3, 0), (3, 2), (1, 2), (u64::MAX, 1)] {
        let mut haproxy = Haproxy::pipelining();
        haproxy.ask(2);
        haproxy.answer(1, 1);
        haproxy.answered();
        haproxy.written();
        haproxy.answer(stream_id, frame_id);
        let unknown = DecodeError::UnknownAck {
            stream_id,
            frame_id,
        };
        assert_eq!(haproxy.closed(), HaproxyClosed::Violation(unknown));
        assert_eq!(haproxy.goodbye(), Status::FRAME_ID_NOT_FOUND);
        assert!(haproxy.connection.waiting().eq([(3, 1)]), "void");
    }
    let mut nothing_asked = Haproxy::pipelining();
    nothing_asked.answer(1, 1);
    assert!(matches!(
        nothing_asked.closed(),
        HaproxyClosed::Violation(_)
    ));
}

#[test]
fn a_stream_asks_one_question_after_the_other() {
    // Frame 1 timed out, frame 2 waits.
    let asked = || {
        let mut haproxy = Haproxy::pipelining();
        let mut ask = |stream_id, frame_id| {
            let notify = question().build(stream_id, frame_id);
            haproxy.connection.notify_with_ids(START, &notify).unwrap();
        };
        ask(8, 1);
        ask(9, 4);
        haproxy.now += Duration::from_secs(1);
        while haproxy.timeout().is_some() {}
        let notify = question().build(8, 2);
        let now = haproxy.now;
        haproxy.connection.notify_with_ids(now, &notify).unwrap();
        haproxy
    };
    let mut lower = asked();
    lower.answer(8, 1);
    assert!(matches!(lower.event(), Some(HaproxyEvent::LateAck(_))));
    let mut higher = asked();
    higher.answer(8, 3);
    assert!(matches!(higher.closed(), HaproxyClosed::Violation(_)));
}

#[test]
fn frames_beyond_the_agreed_size() {
    let mut haproxy = Haproxy::new(config());
    agent_hello(300, Capabilities::PIPELINING).encode(&mut haproxy.input);
    assert!(matches!(haproxy.event(), Some(HaproxyEvent::Ready(_))));
    let fits = haproxy.connection.notify(START, question_of(300));
    assert_eq!(fits, Ok(1));
    let too_big = haproxy.connection.notify(START, question_of(301));
    let error = NotifyError::TooBig {
        length: 301,
        limit: 300,
    };
    assert_eq!(too_big, Err(error));
    assert_eq!(haproxy.written().len(), 1, "the connection goes on");

    haproxy.input.put_u32(301);
    assert_eq!(
        haproxy.closed(),
        HaproxyClosed::Violation(DecodeError::TooBig {
            length: 301,
            limit: 300
        })
    );
    assert_eq!(haproxy.goodbye(), Status::TOO_BIG);
}

#[test]
fn nothing_is_taken_while_nothing_is_written() {
    let config = config().with_max_in_flight(1000);
    let mut haproxy = Haproxy::ready(config, Capabilities::PIPELINING);
    while haproxy.connection.room() > 0 {
        haproxy
            .connection
            .notify(START, question_of(1000))
            .map(|_| ())
            .unwrap();
    }
    assert!((65_536..66_540).contains(&haproxy.connection.transmit().len()));
    haproxy.connection.transmit().clear();
    assert!(haproxy.connection.room() > 900);
}
