//! HAProxy's side as a script: frames and the time in, events and frames out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod asks;
mod ends;
mod handshake;

use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, Frame, FrameDecoder, HaproxyClosed, HaproxyConfig,
    HaproxyConnection, HaproxyEvent, HaproxyHello, NotifyBuilder, Status,
};

const START: Duration = Duration::from_secs(1000);
const MILLISECOND: Duration = Duration::from_millis(1);

/// HAProxy's end of a connection, its input, and the clock.
struct Haproxy {
    connection: HaproxyConnection,
    input: BytesMut,
    now: Duration,
}

impl Haproxy {
    /// One that has sent its HELLO.
    fn new(config: HaproxyConfig) -> Self {
        let mut haproxy = Self {
            connection: HaproxyConnection::new(config, START),
            input: BytesMut::new(),
            now: START,
        };
        assert!(matches!(haproxy.written()[..], [Frame::HaproxyHello(_)]));
        haproxy
    }

    /// One that has shaken hands with an agent that announces `capabilities`.
    fn ready(config: HaproxyConfig, capabilities: Capabilities) -> Self {
        let mut haproxy = Self::new(config);
        agent_hello(16_380, capabilities).encode(&mut haproxy.input);
        assert!(matches!(haproxy.event(), Some(HaproxyEvent::Ready(_))));
        haproxy
    }

    fn pipelining() -> Self {
        Self::ready(config(), Capabilities::PIPELINING)
    }

    fn event(&mut self) -> Option<HaproxyEvent> {
        self.connection.poll_event(self.now, &mut self.input)
    }

    fn timeout(&mut self) -> Option<HaproxyEvent> {
        self.connection.handle_timeout(self.now)
    }

    #[track_caller]
    fn closed(&mut self) -> HaproxyClosed {
        match self.event() {
            Some(HaproxyEvent::Closed(closed)) => {
                assert!(self.connection.is_closed());
                assert!(self.event().is_none());
                assert_eq!(self.connection.poll_timeout(), None);
                assert_eq!(self.connection.room(), 0);
                closed
            }
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Asks `number` times; the stream-ids.
    fn ask(&mut self, number: usize) -> Vec<u64> {
        let mut ask = || self.connection.notify(self.now, question());
        (0..number).map(|_| ask().unwrap()).collect()
    }

    fn answer(&mut self, stream_id: u64, frame_id: u64) {
        Ack::new(stream_id, frame_id, &Actions::new()).encode(&mut self.input);
    }

    #[track_caller]
    fn answered(&mut self) -> (u64, u64) {
        match self.event() {
            Some(HaproxyEvent::Ack { ack, .. }) => (ack.stream_id(), ack.frame_id()),
            other => panic!("{other:?} instead of an ACK"),
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
            [Frame::HaproxyDisconnect(bye)] => bye.status,
            other => panic!("{other:?} instead of a DISCONNECT"),
        }
    }
}

fn config() -> HaproxyConfig {
    HaproxyConfig::new(HaproxyHello::new(16_380, "engine"))
}

fn agent_hello(max_frame_size: u32, capabilities: Capabilities) -> AgentHello {
    let hello = HaproxyHello::new(16_380, "engine");
    AgentHello::new(&hello.negotiate(max_frame_size, capabilities).unwrap())
}

fn question() -> NotifyBuilder {
    NotifyBuilder::new().message("m", []).unwrap()
}
