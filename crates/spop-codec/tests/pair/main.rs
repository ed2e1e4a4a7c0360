//! Both sides of a connection against each other: in memory, in virtual time, byte by byte if
//! need be. Whatever happens, each NOTIFY has one end, and nobody breaks the protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod scenarios;
mod schedules;

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{
    AckOutcome, AckTicket, Action, Actions, AgentConfig, AgentConnection, Closed, Event,
    HaproxyClosed, HaproxyConfig, HaproxyConnection, HaproxyEvent, HaproxyHello, Negotiated,
    NotifyBuilder, NotifyError, Scope, Status, TypedData,
};

type Ids = (u64, u64);

/// How a NOTIFY ended, as HAProxy saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Acked,
    TimedOut,
    /// With the connection.
    Void,
}

/// HAProxy, an agent and the wire between them, which is their transmit buffers.
struct Pair {
    now: Duration,
    haproxy: HaproxyConnection,
    agent: AgentConnection,
    haproxy_input: BytesMut,
    agent_input: BytesMut,
    /// What the agent was asked and has not answered yet.
    tickets: Vec<(AckTicket, Ids)>,
    /// What it answered: the value of the one action, if there was one.
    answers: HashMap<Ids, Option<i64>>,
    /// What HAProxy asked, and how it ended.
    asked: HashMap<Ids, Option<End>>,
    negotiated: Option<Negotiated>,
    haproxy_end: Option<HaproxyEnd>,
    agent_end: Option<AgentEnd>,
}

/// `None`: the other side closed the socket, and that was all.
type HaproxyEnd = Option<HaproxyClosed>;
type AgentEnd = Option<Closed>;

impl Pair {
    fn new(haproxy: HaproxyConfig, agent: AgentConfig) -> Self {
        assert_eq!(agent.validate(), Ok(()));
        Self {
            now: Duration::ZERO,
            haproxy: HaproxyConnection::new(haproxy, Duration::ZERO),
            agent: AgentConnection::new(agent, Duration::ZERO),
            haproxy_input: BytesMut::new(),
            agent_input: BytesMut::new(),
            tickets: Vec::new(),
            answers: HashMap::new(),
            asked: HashMap::new(),
            negotiated: None,
            haproxy_end: None,
            agent_end: None,
        }
    }

    /// After the handshake.
    fn ready(haproxy: HaproxyConfig, agent: AgentConfig) -> Self {
        let mut pair = Self::new(haproxy, agent);
        pair.deliver();
        assert!(pair.negotiated.is_some());
        pair
    }

    /// Asks a question of about `size` bytes, under the ids that HAProxy from 3.1 on uses or
    /// those of the versions before.
    fn ask(&mut self, size: usize, old_ids: bool) -> Result<(), NotifyError> {
        let padding = vec![0; size];
        let args = [
            ("n", number(self.asked.len())),
            ("p", TypedData::Binary(&padding)),
        ];
        let question = NotifyBuilder::new().message("m", args).unwrap();
        let ids = if old_ids {
            let ids = (self.asked.len() as u64, 1);
            let notify = question.build(ids.0, ids.1);
            self.haproxy.notify_with_ids(self.now, &notify)?;
            ids
        } else {
            (self.haproxy.notify(self.now, question)?, 1)
        };
        assert_eq!(self.asked.insert(ids, None), None, "{ids:?} used twice");
        Ok(())
    }

    /// The agent answers one of its questions, in whatever order.
    fn answer(&mut self, which: usize, size: usize, void: bool) {
        let (ticket, ids) = self.tickets.swap_remove(which);
        let name = if void { "not a name" } else { "n" };
        let value = i64::try_from(ids.0).unwrap();
        let padding = "p".repeat(size);
        let actions = Actions::new()
            .set_var(Scope::Transaction, name, value)
            .set_var(Scope::Transaction, "padding", padding.as_str());
        let outcome = self.agent.ack(ticket, &actions);
        let value = (outcome == AckOutcome::Queued).then_some(value);
        assert_eq!(self.answers.insert(ids, value), None, "{ids:?} again");
        self.poll_agent();
    }

    /// Up to `bytes` of what HAProxy wrote reach the agent.
    fn agent_reads(&mut self, bytes: usize) {
        let written = self.haproxy.transmit();
        let part = written.split_to(bytes.min(written.len()));
        if self.agent_end.is_none() {
            self.agent_input.extend_from_slice(&part);
            self.poll_agent();
        }
        self.hang_up();
    }

    /// Up to `bytes` of what the agent wrote reach HAProxy.
    fn haproxy_reads(&mut self, bytes: usize) {
        let written = self.agent.transmit();
        let part = written.split_to(bytes.min(written.len()));
        if self.haproxy_end.is_none() {
            self.haproxy_input.extend_from_slice(&part);
            self.poll_haproxy();
        }
        // There may be room for NOTIFYs that were read before.
        self.poll_agent();
        self.hang_up();
    }

    /// Everything reaches the other side.
    fn deliver(&mut self) {
        while !self.haproxy.transmit().is_empty() || !self.agent.transmit().is_empty() {
            self.agent_reads(usize::MAX);
            self.haproxy_reads(usize::MAX);
        }
    }

    /// Time goes by, and whatever falls due does so on the spot.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = [self.haproxy.poll_timeout(), self.agent.poll_timeout()];
            let Some(due) = due.into_iter().flatten().min().filter(|due| *due <= until) else {
                break;
            };
            self.now = self.now.max(due);
            while let Some(event) = self.haproxy.handle_timeout(self.now) {
                self.seen_by_haproxy(event);
            }
            if let Some(event) = self.agent.handle_timeout(self.now) {
                self.seen_by_agent(event);
            }
        }
        self.now = until;
        self.hang_up();
    }

    /// Who has ended and written everything closes the socket, which ends the other.
    fn hang_up(&mut self) {
        if self.agent_end.is_some()
            && self.agent.transmit().is_empty()
            && self.haproxy_end.is_none()
        {
            self.end_haproxy(None);
        }
        if self.haproxy_end.is_some()
            && self.haproxy.transmit().is_empty()
            && self.agent_end.is_none()
        {
            self.agent_end = Some(None);
        }
    }

    fn poll_agent(&mut self) {
        while let Some(event) = self.agent.poll_event(self.now, &mut self.agent_input) {
            self.seen_by_agent(event);
        }
    }

    fn poll_haproxy(&mut self) {
        while let Some(event) = self.haproxy.poll_event(self.now, &mut self.haproxy_input) {
            self.seen_by_haproxy(event);
        }
    }

    fn seen_by_agent(&mut self, event: Event) {
        assert_eq!(self.agent_end, None, "{event:?} after the end");
        match event {
            Event::Ready { .. } => {}
            Event::Notify(ticket, notify) => {
                let ids = (notify.stream_id(), notify.frame_id());
                assert!(self.asked.contains_key(&ids), "{ids:?} never asked");
                self.tickets.push((ticket, ids));
            }
            Event::Closed(closed) => {
                assert!(
                    !matches!(closed, Closed::Violation(_) | Closed::Refused(_)),
                    "{closed:?}"
                );
                self.agent_end = Some(Some(closed));
            }
            other => panic!("{other:?}"),
        }
    }

    fn seen_by_haproxy(&mut self, event: HaproxyEvent) {
        assert_eq!(self.haproxy_end, None, "{event:?} after the end");
        match event {
            HaproxyEvent::Ready(negotiated) => self.negotiated = Some(negotiated),
            HaproxyEvent::Ack { ack, .. } => {
                let ids = (ack.stream_id(), ack.frame_id());
                self.end_notify(ids, End::Acked);
                let value = ack.actions().next().map(|action| match action {
                    Action::SetVar { value, .. } => value.to_i64().unwrap(),
                    other => panic!("{other:?}"),
                });
                assert_eq!(Some(&value), self.answers.get(&ids), "another's answer");
            }
            HaproxyEvent::LateAck(ack) => {
                let ids = (ack.stream_id(), ack.frame_id());
                assert_eq!(self.asked.get(&ids), Some(&Some(End::TimedOut)));
            }
            HaproxyEvent::TimedOut {
                stream_id,
                frame_id,
            } => {
                self.end_notify((stream_id, frame_id), End::TimedOut);
            }
            HaproxyEvent::Closed(closed) => {
                assert!(
                    !matches!(
                        closed,
                        HaproxyClosed::Violation(_) | HaproxyClosed::Refused(_)
                    ),
                    "{closed:?}"
                );
                self.end_haproxy(Some(closed));
            }
            other => panic!("{other:?}"),
        }
        assert!(self.haproxy.in_flight() <= 20);
    }

    fn end_haproxy(&mut self, closed: HaproxyEnd) {
        self.haproxy_end = Some(closed);
        let waiting: Vec<_> = self.haproxy.waiting().collect();
        for ids in waiting {
            self.end_notify(ids, End::Void);
        }
    }

    fn end_notify(&mut self, ids: Ids, end: End) {
        let before = self.asked.insert(ids, Some(end));
        assert_eq!(before, Some(None), "{ids:?} ended twice or never began");
    }

    fn ends(&self, end: End) -> usize {
        self.asked.values().filter(|of| **of == Some(end)).count()
    }

    /// The agent answers everything, everything arrives, and HAProxy leaves.
    fn finish(&mut self) {
        self.deliver();
        while !self.tickets.is_empty() {
            self.answer(0, 0, false);
            self.deliver();
        }
        self.haproxy.disconnect(self.now, Status::NORMAL);
        self.deliver();
        self.pass(Duration::from_secs(60));
        self.deliver();
        assert!(self.haproxy_end.is_some(), "HAProxy hangs");
        assert!(self.agent_end.is_some(), "the agent hangs");
        assert!(self.asked.values().all(Option::is_some), "{:?}", self.asked);
    }
}

fn number(n: usize) -> TypedData<'static> {
    TypedData::Int64(i64::try_from(n).unwrap())
}

fn haproxy() -> HaproxyConfig {
    HaproxyConfig::new(HaproxyHello::new(16_380, "engine"))
}

const MILLISECOND: Duration = Duration::from_millis(1);
