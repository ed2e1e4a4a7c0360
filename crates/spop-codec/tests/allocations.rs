//! What a NOTIFY costs in allocations, once a connection is warm: nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use allocation_counter::measure;
use bytes::BytesMut;
use spop_codec::{
    Actions, AgentConfig, AgentConnection, Event, HaproxyHello, NotifyBuilder, Scope, TypedData,
};

/// One read: sixteen NOTIFYs with a value of each type, unnamed and repeated arguments.
fn batch() -> BytesMut {
    let args = [
        ("ip", TypedData::Ipv4([192, 0, 2, 7].into())),
        ("ip6", TypedData::Ipv6([1; 16].into())),
        ("", "unnamed".into()),
        ("port", 443_i64.into()),
        ("port", (-1_i64).into()),
        ("flag", true.into()),
        ("none", TypedData::Null),
        ("body", TypedData::Binary(&[0xff; 300])),
    ];
    let notify = NotifyBuilder::new()
        .message("one", args)
        .and_then(|notify| notify.message("two", args))
        .unwrap()
        .build(1, 1);
    let mut wire = BytesMut::new();
    for _ in 0..16 {
        notify.encode(&mut wire);
    }
    wire
}

#[test]
fn decoding_visiting_and_answering_allocate_nothing() {
    let now = Duration::ZERO;
    let mut agent = AgentConnection::new(AgentConfig::new(), now);
    let mut input = BytesMut::with_capacity(1 << 16);
    HaproxyHello::new(16_380, "engine").encode(&mut input);
    assert!(matches!(
        agent.poll_event(now, &mut input),
        Some(Event::Ready { .. })
    ));

    let wire = batch();
    let mut actions = Actions::new();
    let mut round = || {
        input.extend_from_slice(&wire);
        let mut values = 0;
        while let Some(event) = agent.poll_event(now, &mut input) {
            let Event::Notify(ticket, notify) = event else {
                panic!("{event:?}");
            };
            for message in notify.messages() {
                values += message.args().filter(|arg| !arg.value.is_null()).count();
            }
            actions.clear();
            actions = std::mem::take(&mut actions).set_var(Scope::Session, "ip_score", 100);
            agent.ack(ticket, &actions);
        }
        assert_eq!(values, 16 * 2 * 7);
        // As a socket that takes everything.
        agent.transmit().clear();
    };
    round(); // warm: the buffers have their size now
    let counted = measure(|| {
        for _ in 0..100 {
            round();
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// One short variable fits into the list itself, many take one allocation. It also shows that the
/// counter counts.
#[test]
fn many_actions_take_one_allocation() {
    let allocations = |variables| {
        measure(|| {
            let mut actions = Actions::new();
            for _ in 0..variables {
                actions = actions.set_var(Scope::Session, "ip_score", 100);
            }
            assert!(!actions.is_empty());
        })
        .count_total
    };
    assert_eq!(allocations(1), 0);
    assert_eq!(allocations(18), 1);
}
