//! HAProxy's connection and the agent's against each other: neither ever has a complaint
//! about the other, and no question is lost, however the bytes are cut and whatever the time.

use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{
    AckTicket, Actions, AgentConfig, AgentConnection, Closed, Event, HaproxyClosed, HaproxyConfig,
    HaproxyConnection, HaproxyEvent, HaproxyHello, NotifyError, Status,
};

use crate::script::Script;

/// Runs the script. It begins with five bytes of settings.
pub fn check(script: &[u8]) {
    let mut script = Script::new(script);
    let mut pair = Pair::new(&mut script);
    while !script.is_over() {
        pair.step(&mut script);
    }
    pair.finish();
}

struct Pair {
    now: Duration,
    haproxy: HaproxyConnection,
    agent: AgentConnection,
    /// What each has read and not taken yet.
    to_haproxy: BytesMut,
    to_agent: BytesMut,
    /// Questions that the agent has, not answered yet.
    tickets: Vec<AckTicket>,
    /// Whether HAProxy is one of up to 3.0.
    as_of_old: bool,
    /// The stream-id and frame-id of its last question then.
    last: (u64, u64),
    asked: usize,
    /// Answered in time or late.
    answered: usize,
    /// Timed out at HAProxy.
    timed_out: usize,
    haproxy_closed: Option<HaproxyClosed>,
    agent_closed: Option<Closed>,
}

impl Pair {
    fn new(script: &mut Script<'_>) -> Self {
        let [kind, announced, own, in_flight, ack_size] = script.bytes();
        let announced = 256 + 64 * u32::from(announced);
        let hello = match kind % 8 {
            0 => HaproxyHello::health_check(announced),
            _ => HaproxyHello::new(announced, "engine"),
        };
        let now = Duration::from_secs(1000);
        let own = 256 + 64 * u32::from(own);
        let mut config = AgentConfig::new()
            .with_max_frame_size(own)
            .with_max_ack_size(64 + 16 * u32::from(ack_size))
            .with_pipelining(kind & 0x08 == 0);
        if kind & 0x10 != 0 {
            config = config.with_fragmentation(4096);
        }
        let haproxy = HaproxyConfig::new(hello).with_max_in_flight((in_flight % 64).into());
        Self {
            now,
            haproxy: HaproxyConnection::new(haproxy, now),
            agent: AgentConnection::new(config, now),
            to_haproxy: BytesMut::new(),
            to_agent: BytesMut::new(),
            tickets: Vec::new(),
            as_of_old: kind & 0x20 != 0,
            last: (0, 1),
            asked: 0,
            answered: 0,
            timed_out: 0,
            haproxy_closed: None,
            agent_closed: None,
        }
    }

    /// One byte says which step, those after it how.
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 14 {
            0..=3 => self.ask(script),
            4..=6 => self.answer(script),
            7 => self.carry_to_agent(script.number().into()),
            8 => self.carry_to_haproxy(script.number().into()),
            9 => self.carry_to_agent(usize::MAX),
            10 => self.carry_to_haproxy(usize::MAX),
            11 => self.pass(Duration::from_millis(script.number().into())),
            12 => self.pass(Duration::from_secs(script.byte().into())),
            _ => match script.byte() % 4 {
                0 => self.agent.drain(),
                1 => self.haproxy.disconnect(self.now, Status::NORMAL),
                _ => self.agent.refuse_checks(),
            },
        }
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let room = self.haproxy.room();
        let taken = if self.as_of_old {
            self.ask_as_of_old(script)
        } else {
            self.haproxy.notify(self.now, script.messages()).map(|_| ())
        };
        match taken {
            Ok(()) => self.asked += 1,
            Err(NotifyError::TooBig { .. } | NotifyError::InFlight { .. }) => {}
            Err(error) => assert_eq!(room, 0, "{error}"),
        }
    }

    /// HAProxy up to 3.0 counts streams from 0, and the frames of each from 1. It asks the
    /// same again when there was no answer in time.
    fn ask_as_of_old(&mut self, script: &mut Script<'_>) -> Result<(), NotifyError> {
        let (stream_id, frame_id) = self.last;
        let ids = match script.byte() % 4 {
            0 => (stream_id, frame_id),
            1 => (stream_id, frame_id + 1),
            more => (stream_id + u64::from(more) - 1, 1),
        };
        let notify = script.messages().build(ids.0, ids.1);
        self.haproxy.notify_with_ids(self.now, &notify)?;
        self.last = ids;
        Ok(())
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let which = usize::from(script.byte());
        let actions = script.actions();
        if !self.tickets.is_empty() {
            let ticket = self.tickets.swap_remove(which % self.tickets.len());
            self.agent.ack(ticket, &actions);
        }
    }

    fn carry_to_agent(&mut self, len: usize) {
        let from = self.haproxy.transmit();
        if self.agent.wants_read() {
            self.to_agent
                .extend_from_slice(&from.split_to(len.min(from.len())));
        }
        while let Some(event) = self.agent.poll_event(self.now, &mut self.to_agent) {
            self.agent_saw(event);
        }
    }

    fn carry_to_haproxy(&mut self, len: usize) {
        let from = self.agent.transmit();
        self.to_haproxy
            .extend_from_slice(&from.split_to(len.min(from.len())));
        while let Some(event) = self.haproxy.poll_event(self.now, &mut self.to_haproxy) {
            self.haproxy_saw(event);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some(event) = self.haproxy.handle_timeout(self.now) {
            self.haproxy_saw(event);
        }
        if let Some(event) = self.agent.handle_timeout(self.now) {
            self.agent_saw(event);
        }
    }

    fn haproxy_saw(&mut self, event: HaproxyEvent) {
        match event {
            HaproxyEvent::Ready(_) => {}
            HaproxyEvent::Ack { .. } | HaproxyEvent::LateAck(_) => self.answered += 1,
            HaproxyEvent::TimedOut { .. } => self.timed_out += 1,
            HaproxyEvent::Closed(closed) => {
                let complaint = matches!(
                    closed,
                    HaproxyClosed::Refused(_) | HaproxyClosed::Violation(_)
                );
                assert!(!complaint, "{closed:?}");
                assert_eq!(self.haproxy_closed.replace(closed), None);
            }
            other => panic!("an event that nothing checks: {other:?}"),
        }
    }

    fn agent_saw(&mut self, event: Event) {
        match event {
            Event::Ready { .. } => {}
            Event::Notify(ticket, _) => self.tickets.push(ticket),
            Event::Closed(closed) => {
                let complaint = matches!(closed, Closed::Refused(_) | Closed::Violation(_));
                assert!(!complaint, "{closed:?}");
                assert_eq!(self.agent_closed.replace(closed), None);
            }
            other => panic!("an event that cannot be: {other:?}"),
        }
    }

    /// Answers everything and carries everything over: what was asked is answered then,
    /// unless one of the two has ended.
    fn finish(mut self) {
        // Each turn takes what was left of the last one, or finds that nothing was.
        let mut left = usize::MAX;
        while self.left() < left || !self.tickets.is_empty() {
            left = self.left();
            for ticket in std::mem::take(&mut self.tickets) {
                self.agent.ack(ticket, &Actions::new());
            }
            self.carry_to_haproxy(usize::MAX);
            self.carry_to_agent(usize::MAX);
        }
        self.carry_to_haproxy(usize::MAX);
        assert!(self.answered <= self.asked, "an answer to nothing");
        if self.agent_closed.is_none() && self.haproxy_closed.is_none() {
            let disconnecting = self.haproxy.poll_timeout().is_some();
            assert!(!disconnecting, "both wait for each other");
            assert_eq!(self.answered, self.asked, "a question was lost");
            assert_eq!(self.haproxy.in_flight(), 0);
            assert!(self.timed_out <= self.asked);
        }
    }
    /// Bytes that neither has taken yet.
    fn left(&mut self) -> usize {
        let on_the_way = self.haproxy.transmit().len() + self.agent.transmit().len();
        on_the_way + self.to_agent.len() + self.to_haproxy.len()
    }
}
