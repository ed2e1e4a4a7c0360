//! HAProxy's connection, driven by a [`Script`] of questions, an agent's bytes and time.
//!
//! What must hold, whatever the agent does: every question ends in one ACK, in a timeout, or
//! void with the connection; what is written is whole frames, HELLO first and DISCONNECT
//! last; the end is said once and nothing comes after it; `waiting` tells the questions that
//! wait; no silence of the agent is without a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spop_codec::{
    Ack, AgentHello, Capabilities, Disconnect, Frame, FrameType, HaproxyConfig, HaproxyConnection,
    HaproxyEvent, HaproxyHello, NotifyError, Status,
};

use crate::frame::{frames, put_raw};
use crate::memory::Memory;
use crate::script::Script;

/// Bytes that a connection and this check may hold, beyond those that were sent and written.
const HELD: usize = 256 << 10;

/// Frames that a script may send in floods: enough to reach the limit, and soon over.
const FLOOD: u16 = 2000;

const TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the script. It begins with three bytes of settings.
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

struct Question {
    stream_id: u64,
    frame_id: u64,
    since: Duration,
}

struct Run {
    connection: HaproxyConnection,
    hello: HaproxyHello,
    max_in_flight: usize,
    /// Frames that may come in floods still.
    flood: u16,
    now: Duration,
    /// Written by the agent, not read by HAProxy yet.
    wire: BytesMut,
    /// Read, and not taken by the connection yet.
    input: BytesMut,
    /// Bytes that were read in all.
    read: usize,
    /// Questions that wait, the oldest first.
    waiting: Vec<Question>,
    /// Questions that were taken, in all.
    asked: usize,
    /// Taken off the transmit buffer, from the first byte on.
    written: BytesMut,
    ready: bool,
    disconnecting: bool,
    closed: bool,
}

impl Run {
    fn new(script: &mut Script<'_>) -> Self {
        let [kind, size, in_flight] = script.bytes();
        let size = 200 + 64 * u32::from(size);
        let mut hello = match kind % 4 {
            0 => HaproxyHello::health_check(size),
            _ => HaproxyHello::new(size, "engine"),
        };
        if kind % 4 == 1 {
            hello.capabilities = Capabilities::NONE;
        }
        let max_in_flight = usize::from(in_flight % 32);
        let config = HaproxyConfig::new(hello.clone())
            .with_max_in_flight(max_in_flight)
            .with_processing_timeout(TIMEOUT);
        let now = Duration::from_secs(1000);
        Self {
            connection: HaproxyConnection::new(config, now),
            hello,
            max_in_flight,
            flood: FLOOD,
            now,
            wire: BytesMut::new(),
            input: BytesMut::new(),
            read: 0,
            waiting: Vec::new(),
            asked: 0,
            written: BytesMut::new(),
            ready: false,
            disconnecting: false,
            closed: false,
        }
    }

    /// One byte says which step, those after it how.
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 => self.send_hello(script),
            1 | 2 => self.send_answer(script),
            3 => self.send_raw(script, 1),
            4 => self.wire.extend_from_slice(script.counted()),
            5 => {
                let status = Status(script.byte().into());
                Disconnect::with_message(status, script.counted().to_vec())
                    .encode(FrameType::AGENT_DISCONNECT, &mut self.wire);
            }
            6 => self.deliver(script.byte().into()),
            7 | 8 => self.deliver(usize::MAX),
            9 | 10 => self.ask(script),
            11 => self.ask_with_ids(script),
            12 => self.write(script.number().into()),
            13 => self.pass(Duration::from_millis(script.number().into())),
            14 => {
                self.connection.disconnect(self.now, Status::NORMAL);
                self.disconnecting = true;
            }
            _ => {
                let times = (script.number() % 1200).min(self.flood);
                self.flood -= times;
                self.send_raw(script, times);
            }
        }
    }

    fn send_hello(&mut self, script: &mut Script<'_>) {
        let [kind, size] = script.bytes();
        let own = 256 + 64 * u32::from(size);
        let capabilities = if kind % 4 == 0 {
            Capabilities::NONE
        } else {
            Capabilities::PIPELINING
        };
        let Ok(agreed) = self.hello.negotiate(own, capabilities) else {
            return;
        };
        let mut hello = AgentHello::new(&agreed);
        match kind % 16 {
            1 => hello.version = Some(Bytes::copy_from_slice(script.counted())),
            2 => hello.max_frame_size = Some(own.into()),
            3 => hello.capabilities = None,
            _ => {}
        }
        hello.encode(&mut self.wire);
    }

    /// An ACK, mostly for a question that waits.
    fn send_answer(&mut self, script: &mut Script<'_>) {
        let [which, shift] = script.bytes();
        let actions = script.actions();
        let (stream_id, frame_id) = match self.waiting.get(usize::from(which)) {
            Some(question) => (question.stream_id, question.frame_id),
            None => (which.into(), 1),
        };
        let frame_id = if shift < 250 {
            frame_id
        } else {
            frame_id ^ u64::from(shift)
        };
        Ack::new(stream_id, frame_id, &actions).encode(&mut self.wire);
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

    /// HAProxy reads up to `len` bytes.
    fn deliver(&mut self, len: usize) {
        if self.closed {
            return;
        }
        let part = self.wire.split_to(len.min(self.wire.len()));
        self.read += part.len();
        self.input.extend_from_slice(&part);
        while let Some(event) = self.connection.poll_event(self.now, &mut self.input) {
            self.receive(event);
        }
    }

    fn receive(&mut self, event: HaproxyEvent) {
        assert!(!self.closed, "{event:?} after the end");
        match event {
            HaproxyEvent::Ready(negotiated) => {
                assert!(!self.ready, "ready once");
                self.ready = true;
                assert!(negotiated.max_frame_size <= negotiated.announced_frame_size);
            }
            HaproxyEvent::Ack { ack, elapsed } => {
                let question = self.take(ack.stream_id(), ack.frame_id());
                let question = question.expect("an answer to nothing");
                assert_eq!(elapsed, self.now - question.since);
            }
            HaproxyEvent::LateAck(ack) => {
                assert!(self.asked > 0);
                let waits = self.take(ack.stream_id(), ack.frame_id());
                assert!(waits.is_none(), "it was waited for");
            }
            HaproxyEvent::TimedOut {
                stream_id,
                frame_id,
            } => {
                let question = self.take(stream_id, frame_id).expect("it waited");
                assert!(self.now - question.since >= TIMEOUT);
            }
            HaproxyEvent::Closed(_) => self.closed = true,
            other => panic!("an event that nothing checks: {other:?}"),
        }
    }

    fn take(&mut self, stream_id: u64, frame_id: u64) -> Option<Question> {
        let same = |q: &Question| (q.stream_id, q.frame_id) == (stream_id, frame_id);
        let at = self.waiting.iter().position(same)?;
        Some(self.waiting.remove(at))
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let messages = script.messages();
        let room = self.connection.room();
        match self.connection.notify(self.now, messages) {
            Ok(stream_id) => self.taken(stream_id, 1),
            Err(error) => self.refused(error, room),
        }
    }

    fn ask_with_ids(&mut self, script: &mut Script<'_>) {
        let [stream_id, frame_id] = script.bytes().map(u64::from);
        let notify = script.messages().build(stream_id, frame_id);
        let room = self.connection.room();
        match self.connection.notify_with_ids(self.now, &notify) {
            Ok(()) => self.taken(stream_id, frame_id),
            Err(error) => self.refused(error, room),
        }
    }

    fn taken(&mut self, stream_id: u64, frame_id: u64) {
        assert!(
            self.take(stream_id, frame_id).is_none(),
            "ids in flight are unique"
        );
        self.asked += 1;
        self.waiting.push(Question {
            stream_id,
            frame_id,
            since: self.now,
        });
    }

    fn refused(&mut self, error: NotifyError, room: usize) {
        match error {
            NotifyError::NotReady => assert!(!self.ready || self.disconnecting || self.closed),
            NotifyError::Full => assert_eq!(room, 0),
            NotifyError::TooBig { length, limit } => assert!(length > limit as usize && room > 0),
            NotifyError::InFlight { .. } => assert!(!self.waiting.is_empty()),
            other => panic!("an error that nothing checks: {other:?}"),
        }
    }

    /// The socket takes up to `len` bytes.
    fn write(&mut self, len: usize) {
        let transmit = self.connection.transmit();
        let part = transmit.split_to(len.min(transmit.len()));
        self.written.extend_from_slice(&part);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let due = self.connection.poll_timeout();
        let mut events = 0;
        while let Some(event) = self.connection.handle_timeout(self.now) {
            self.receive(event);
            events += 1;
        }
        assert_eq!(events > 0, due.is_some_and(|due| due <= self.now));
    }

    /// Bytes that were sent, and written.
    fn bytes(&mut self) -> usize {
        let written = self.written.len() + self.connection.transmit().len();
        self.wire.len() + self.read + written
    }

    fn assert_sound(&mut self) {
        let waiting = self.waiting.iter().map(|q| (q.stream_id, q.frame_id));
        assert!(self.connection.waiting().eq(waiting));
        assert_eq!(self.connection.in_flight(), self.waiting.len());
        assert!(self.waiting.len() <= self.max_in_flight.max(1));
        assert_eq!(self.connection.is_closed(), self.closed);
        let due = self.connection.poll_timeout();
        if self.closed {
            assert_eq!((due, self.connection.room()), (None, 0));
        } else if !self.ready || self.disconnecting || !self.waiting.is_empty() {
            assert!(due.is_some(), "an agent may be silent for ever");
        }
    }

    /// Reads all that was written, from the first byte on.
    fn finish(mut self) {
        self.write(usize::MAX);
        let mut frames = frames(self.written).into_iter();
        assert_eq!(frames.next(), Some(Frame::HaproxyHello(self.hello)));
        let mut asked = 0;
        let mut over = false;
        for frame in frames {
            assert!(!over, "{frame:?} after the goodbye");
            match frame {
                Frame::Notify(_) => asked += 1,
                Frame::HaproxyDisconnect(_) => over = true,
                other => panic!("HAProxy wrote {other:?}"),
            }
        }
        assert_eq!(asked, self.asked);
        assert!(!over || self.disconnecting || self.closed);
    }
}
