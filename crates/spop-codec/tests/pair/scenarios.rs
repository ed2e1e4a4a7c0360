//! What happens in a given order.

use spop_codec::{
    AgentConfig, Capabilities, Closed, Disconnect, HaproxyClosed, HaproxyConfig, HaproxyHello,
    NotifyError, Status,
};

use super::{End, MILLISECOND, Pair, haproxy};

#[test]
fn twenty_questions_answered_backwards() {
    let mut pair = Pair::ready(haproxy(), AgentConfig::new());
    for _ in 0..20 {
        pair.ask(10, false).unwrap();
    }
    assert_eq!(pair.ask(10, false), Err(NotifyError::Full));
    pair.deliver();
    assert_eq!(pair.agent.in_flight(), 20);
    while let Some(last) = pair.tickets.len().checked_sub(1) {
        pair.answer(last, 10, false);
    }
    pair.deliver();
    assert_eq!(pair.ends(End::Acked), 20);
    pair.finish();
}

#[test]
fn a_health_check() {
    let hello = HaproxyHello::health_check(16_380);
    let mut pair = Pair::new(HaproxyConfig::new(hello), AgentConfig::new());
    pair.deliver();
    let Some(Some(HaproxyClosed::HealthCheck(agreed))) = pair.haproxy_end else {
        panic!("{:?}", pair.haproxy_end);
    };
    assert_eq!(agreed.capabilities, Capabilities::NONE);
    assert_eq!(pair.agent_end, Some(Some(Closed::HealthCheck)));
}

#[test]
fn answers_that_come_too_late() {
    let config = haproxy().with_processing_timeout(15 * MILLISECOND);
    let mut pair = Pair::ready(config, AgentConfig::new());
    // HAProxy asks more than twenty at a time, as it gives up on those before.
    for _ in 0..3 {
        for _ in 0..20 {
            pair.ask(10, false).unwrap();
        }
        pair.deliver();
        pair.pass(15 * MILLISECOND);
    }
    assert_eq!(pair.ends(End::TimedOut), 60);
    assert_eq!(pair.agent.in_flight(), 60);
    pair.ask(10, false).unwrap();
    pair.finish();
    assert_eq!(pair.ends(End::Acked), 1);
}

#[test]
fn a_question_crosses_the_agents_goodbye() {
    let mut pair = Pair::ready(haproxy(), AgentConfig::new());
    pair.ask(10, false).unwrap();
    pair.agent_reads(usize::MAX);
    pair.agent.drain();
    pair.poll_agent();
    assert_eq!(pair.agent_end, None, "one is to be answered");
    pair.answer(0, 10, false);
    pair.poll_agent();
    assert_eq!(pair.agent_end, Some(Some(Closed::Drained)));
    pair.ask(10, false).unwrap();
    pair.deliver();
    let normal = Disconnect::new(Status::NORMAL);
    let end = pair.haproxy_end.clone();
    assert_eq!(end, Some(Some(HaproxyClosed::ByPeer(normal))));
    assert_eq!((pair.ends(End::Acked), pair.ends(End::Void)), (1, 1));
}

#[test]
fn haproxy_leaves_with_questions_open() {
    let mut pair = Pair::ready(haproxy(), AgentConfig::new());
    pair.ask(10, false).unwrap();
    pair.deliver();
    pair.haproxy.disconnect(pair.now, Status(42));
    pair.deliver();
    let Some(Some(Closed::ByPeer(bye))) = &pair.agent_end else {
        panic!("{:?}", pair.agent_end);
    };
    assert_eq!(bye.status, Status(42));
    let reply = HaproxyClosed::Disconnected(Some(Disconnect::new(Status::NORMAL)));
    assert_eq!(pair.haproxy_end, Some(Some(reply)));
    assert_eq!(pair.ends(End::Void), 1);
}

#[test]
fn an_agent_that_lost_patience() {
    let config = AgentConfig::new().with_idle_timeout(MILLISECOND);
    let mut pair = Pair::ready(haproxy(), config);
    pair.pass(MILLISECOND);
    assert_eq!(pair.agent_end, Some(Some(Closed::IdleTimeout)));
    pair.ask(10, false).unwrap();
    pair.deliver();
    let timeout = Disconnect::new(Status::TIMEOUT);
    let end = pair.haproxy_end.clone();
    assert_eq!(end, Some(Some(HaproxyClosed::ByPeer(timeout))));
    assert_eq!(pair.ends(End::Void), 1);
}
