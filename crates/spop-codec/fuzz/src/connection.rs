//! The agent's connection, driven by a [`Script`] of frames, answers and time.
//!
//! What must hold, whatever the script does: every NOTIFY gets one ACK at most, and none that
//! was not asked; what is written is whole frames, HELLO first and DISCONNECT last; the end
//! is said once and nothing comes after it; `in_flight` counts the questions that wait; no
//! silence of the peer is without a deadline, and no flood costs more memory than the limits
//! allow.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spop_codec::{
    AckOutcome, AckTicket, AgentConfig, AgentConnection, Capabilities, Closed, Disconnect, Event,
    Flags, Frame, FrameDecoder, FrameType, HaproxyHello, Status,
};

use crate::frame::{frames, put_raw};
use crate::memory::Memory;
use crate::script::Script;

/// Bytes that a connection and this check may hold, beyond those that were sent and written.
const HELD: usize = 256 << 10;

/// Bytes waiting to be written at which a connection must not read on.
const UNWRITTEN: usize = 68 << 10;

/// Frames that a script may send in floods: enough to reach each limit, and soon over.
const FLOOD: u16 = 6000;

/// Runs the script. It begins with five bytes of settings.
pub fn check(script: &[u8]) {
    let memory = Memory::begin();
    let mut script = Script::new(script);
    let mut run = Run::new(&mut script);
    while !script.is_over() {
        run.step(&mut script);
        run.assert_sound();
        memory.assert_at_most(HELD + 4 * run.bytes());
    }
    run.finish();
}

/// Stream-id and frame-id.
type Ids = (u64, u64);

struct Run {
    connection: AgentConnection,
    max_in_flight: usize,
    max_ack: usize,
    /// Frames that may come in floods still.
    flood: u16,
    now: Duration,
    hello_due: Duration,
    /// Written by HAProxy, not read by the agent yet.
    wire: BytesMut,
    /// Read by the agent, from the first byte on.
    delivered: BytesMut,
    /// Of that, what the connection has not taken yet.
    input: BytesMut,
    /// Questions that wait for an answer.
    waiting: Vec<(AckTicket, Ids)>,
    /// Answers that were queued, in order: ids and whether with actions.
    answers: VecDeque<(Ids, bool)>,
    /// Taken off the transmit buffer, from the first byte on.
    written: BytesMut,
    ready: bool,
    draining: bool,
    closed: Option<Closed>,
}

impl Run {
    fn new(script: &mut Script<'_>) -> Self {
        let [frame_size, ack_size, in_flight, switches, fragments] = script.bytes();
        let max_in_flight = 20 + usize::from(in_flight % 64);
        let max_ack = 64 + 16 * u32::from(ack_size);
        let mut config = AgentConfig::new()
            .with_max_frame_size(256 + 64 * u32::from(frame_size))
            .with_max_ack_size(max_ack)
            .with_max_in_flight(max_in_flight)
            .with_pipelining(switches % 4 != 0);
        if fragments > 0 {
            config = config.with_fragmentation(240 + 16 * u32::from(fragments));
        }
        assert_eq!(config.validate(), Ok(()));
        let now = Duration::from_secs(1000);
        Self {
            connection: AgentConnection::new(config, now),
            max_in_flight,
            max_ack: max_ack as usize,
            flood: FLOOD,
            now,
            hello_due: now + Duration::from_secs(5),
            wire: BytesMut::new(),
            delivered: BytesMut::new(),
            input: BytesMut::new(),
            waiting: Vec::new(),
            answers: VecDeque::new(),
            written: BytesMut::new(),
            ready: false,
            draining: false,
            closed: None,
        }
    }

    /// One byte says which step, those after it how.
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 18 {
            0 => self.send_hello(script),
            1 | 2 => self.send_notify(script),
            3 => self.send_raw(script, 1),
            4 => self.wire.extend_from_slice(script.counted()),
            5 => self.send_disconnect(script),
            6 => self.deliver(script.byte().into()),
            7 | 8 => self.deliver(usize::MAX),
            9 | 10 => self.answer(script),
            11 => self.write(script.number().into()),
            12 => self.write(usize::MAX),
            13 => self.pass(Duration::from_millis(script.number().into())),
            14 => self.pass(Duration::from_secs(script.number().into())),
            15 => self.drain_or_refuse(script),
            16 => self.send_fragments(script),
            _ => {
                let times = (script.number() % 1200).min(self.flood);
                self.flood -= times;
                self.send_raw(script, times);
            }
        }
    }

    fn send_hello(&mut self, script: &mut Script<'_>) {
        let [kind, size, capabilities] = script.bytes();
        let size = 200 + 64 * u32::from(size);
        let mut hello = match kind % 8 {
            0 => HaproxyHello::health_check(size),
            _ => HaproxyHello::new(size, "engine"),
        };
        if kind % 8 == 1 {
            hello.supported_versions = Some(Bytes::copy_from_slice(script.counted()));
        }
        if capabilities % 4 == 0 {
            hello.capabilities = Capabilities::ASYNC;
        }
        hello.encode(&mut self.wire);
    }

    fn send_notify(&mut self, script: &mut Script<'_>) {
        let [stream_id, frame_id] = script.bytes();
        let notify = script.messages().build(stream_id.into(), frame_id.into());
        notify.encode(&mut self.wire);
    }

    fn send_raw(&mut self, script: &mut Script<'_>, times: u16) {
        let [frame_type, flags, stream_id, frame_id] = script.bytes();
        let frame_type = FrameType(frame_type);
        let payload = script.counted();
        // A flood is of small frames, to be over soon.
        let payload = if times > 1 {
            &payload[..payload.len().min(8)]
        } else {
            payload
        };
        for _ in 0..times {
            put_raw(
                frame_type,
                flags.into(),
                [stream_id, frame_id],
                payload,
                &mut self.wire,
            );
        }
    }

    fn send_disconnect(&mut self, script: &mut Script<'_>) {
        let status = Status(script.byte().into());
        Disconnect::with_message(status, script.counted().to_vec())
            .encode(FrameType::HAPROXY_DISCONNECT, &mut self.wire);
    }

    /// A NOTIFY in fragments, the last of which may be missing or give it up.
    fn send_fragments(&mut self, script: &mut Script<'_>) {
        let [stream_id, frame_id, fragments, last] = script.bytes();
        let ids = [stream_id, frame_id];
        let mut frame_type = FrameType::NOTIFY;
        for _ in 0..fragments % 8 {
            put_raw(frame_type, 0, ids, script.counted(), &mut self.wire);
            frame_type = FrameType::UNSET;
        }
        let last = match last % 4 {
            0 => return,
            1 => Flags::FIN | Flags::ABORT,
            _ => Flags::FIN,
        };
        put_raw(frame_type, last.0, ids, script.counted(), &mut self.wire);
    }

    /// The agent reads up to `len` bytes, if it wants any.
    fn deliver(&mut self, len: usize) {
        if self.connection.wants_read() {
            let part = self.wire.split_to(len.min(self.wire.len()));
            self.delivered.extend_from_slice(&part);
            self.input.extend_from_slice(&part);
        }
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            let peeked = self.peek();
            let before = self.input.len();
            let Some(event) = self.connection.poll_event(self.now, &mut self.input) else {
                assert_eq!(peeked, None);
                break;
            };
            if let Some(peeked) = peeked {
                let Event::Notify(_, notify) = &event else {
                    panic!("{event:?} in the place of {peeked:?}");
                };
                let ids = (notify.stream_id(), notify.frame_id());
                let messages = notify.messages().map(|message| message.as_bytes().to_vec());
                assert_eq!(peeked, (ids, before - self.input.len(), messages.collect()));
            }
            self.receive(event);
        }
        if self.connection.wants_read() {
            assert!(!starts_whole(&self.input), "a whole frame was left");
        }
    }

    /// The NOTIFY that is to come next, as far as it can be seen where it is.
    fn peek(&self) -> Option<((u64, u64), usize, Vec<Vec<u8>>)> {
        let notify = self.connection.peek_notify(&self.input)?;
        let messages = notify.messages().map(|message| message.as_bytes().to_vec());
        let ids = (notify.stream_id(), notify.frame_id());
        Some((ids, notify.len(), messages.collect()))
    }

    fn receive(&mut self, event: Event) {
        assert_eq!(self.closed, None, "{event:?} after the end");
        match event {
            Event::Ready { negotiated, .. } => {
                assert!(!self.ready, "ready once");
                self.ready = true;
                let size = negotiated.max_frame_size as usize + 3;
                self.max_ack = if negotiated.capabilities.contains(Capabilities::PIPELINING) {
                    self.max_ack.min(size)
                } else {
                    size
                };
            }
            Event::Notify(ticket, notify) => {
                assert!(self.ready, "a question before HELLO");
                assert!(!notify.is_aborted());
                let ids = (notify.stream_id(), notify.frame_id());
                self.waiting.push((ticket, ids));
            }
            Event::NotifyTooBig { .. } => assert!(self.ready, "a question before HELLO"),
            Event::Closed(closed) => self.closed = Some(closed),
            other => panic!("an event that nothing checks: {other:?}"),
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let which = usize::from(script.byte());
        let actions = script.actions();
        if self.waiting.is_empty() {
            return;
        }
        let (ticket, ids) = self.waiting.swap_remove(which % self.waiting.len());
        let before = self.connection.transmit().len();
        let expected = self.connection.ack_outcome(&ticket, &actions);
        let outcome = self.connection.ack(ticket, &actions);
        assert_eq!(outcome, expected);
        assert_eq!(outcome == AckOutcome::Closed, self.closed.is_some());
        let added = self.connection.transmit().len() - before;
        match outcome {
            AckOutcome::Closed => return assert_eq!(added, 0, "nothing after the end"),
            AckOutcome::Queued => assert!(added <= self.max_ack, "{added} bytes"),
            AckOutcome::Void => assert!(actions.error().is_some()),
            AckOutcome::TooBig => assert!(added < 32, "an empty one instead"),
            other => panic!("an outcome that nothing checks: {other:?}"),
        }
        let full = outcome == AckOutcome::Queued && !actions.is_empty();
        self.answers.push_back((ids, full));
        self.poll();
    }

    /// The socket takes up to `len` bytes.
    fn write(&mut self, len: usize) {
        let transmit = self.connection.transmit();
        let part = transmit.split_to(len.min(transmit.len()));
        self.written.extend_from_slice(&part);
        self.poll();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let due = self.connection.poll_timeout();
        let event = self.connection.handle_timeout(self.now);
        assert_eq!(event.is_some(), due.is_some_and(|due| due <= self.now));
        if let Some(event) = event {
            assert!(matches!(event, Event::Closed(_)));
            self.receive(event);
        }
        self.poll();
    }

    fn drain_or_refuse(&mut self, script: &mut Script<'_>) {
        if script.byte() % 2 == 1 {
            self.connection.drain();
            self.draining = true;
            self.poll();
        } else {
            self.connection.refuse_checks();
        }
    }

    /// Bytes that were sent, and written.
    fn bytes(&mut self) -> usize {
        let written = self.written.len() + self.connection.transmit().len();
        self.wire.len() + self.delivered.len() + written
    }

    fn assert_sound(&mut self) {
        assert_eq!(self.connection.in_flight(), self.waiting.len());
        assert!(self.waiting.len() <= self.max_in_flight);
        assert_eq!(self.connection.is_closed(), self.closed.is_some());
        let due = self.connection.poll_timeout();
        if self.closed.is_some() {
            assert!(!self.connection.wants_read());
            assert_eq!(due, None);
            return;
        }
        let unwritten = self.connection.transmit().len();
        assert!(unwritten < UNWRITTEN || !self.connection.wants_read());
        if !self.ready {
            assert_eq!(due, Some(self.hello_due), "other frames win no time");
        }
        if self.waiting.is_empty() {
            assert!(due.is_some(), "a peer may be silent for ever");
            if self.connection.transmit().is_empty() {
                assert!(self.connection.wants_read(), "nothing left to wait for");
                // A NOTIFY that came in part keeps it open, until its deadline.
                let soon = self.now + Duration::from_secs(5);
                let begun = self.ready && due.is_some_and(|due| due <= soon);
                let drained = self.draining && self.input.is_empty() && !begun;
                assert!(!drained, "nothing keeps it from ending");
            }
        }
    }

    /// Reads all that was written, from the first byte on.
    fn finish(mut self) {
        self.write(usize::MAX);
        let mut questions = self.questions();
        let mut frames = frames(self.written).into_iter().peekable();
        let checked = self.closed == Some(Closed::HealthCheck);
        if self.ready || checked {
            let hello = frames.next();
            assert!(matches!(hello, Some(Frame::AgentHello(_))), "{hello:?}");
        }
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Ack(ack) => {
                    let ids = (ack.stream_id(), ack.frame_id());
                    let asked = questions.get_mut(&ids).filter(|asked| **asked > 0);
                    *asked.expect("an ACK that nobody asked for") -= 1;
                    let full = ack.actions().next().is_some();
                    if !ack.is_aborted() && self.answers.front() == Some(&(ids, full)) {
                        self.answers.pop_front();
                    } else {
                        assert!(!full, "actions that were not given");
                    }
                }
                Frame::AgentDisconnect(bye) => {
                    assert!(bye.status.0 <= 99);
                    assert!(self.closed.is_some() && !checked);
                    assert!(frames.peek().is_none(), "a frame after the goodbye");
                }
                other => panic!("an agent wrote {other:?}"),
            }
        }
        assert_eq!(self.answers, [], "an answer was not written");
    }

    /// How many NOTIFY frames with which ids were delivered, read without the connection.
    fn questions(&self) -> HashMap<Ids, usize> {
        let mut questions = HashMap::new();
        let mut decoder = FrameDecoder::new(u32::MAX);
        let mut stream = self.delivered.clone();
        while let Ok(Some(raw)) = decoder.next(&mut stream) {
            if raw.header.frame_type == FrameType::NOTIFY {
                let ids = (raw.header.stream_id, raw.header.frame_id);
                *questions.entry(ids).or_default() += 1;
            }
        }
        questions
    }
}

/// Whether the frame that `input` begins with is all there.
fn starts_whole(input: &[u8]) -> bool {
    let Some((length, rest)) = input.split_first_chunk() else {
        return false;
    };
    rest.len() >= u32::from_be_bytes(*length) as usize
}
