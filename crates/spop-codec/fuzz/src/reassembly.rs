//! A NOTIFY in fragments is the NOTIFY that the fragments make: what an agent sees of it is
//! what another agent sees that gets it whole.

use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{
    Actions, AgentConfig, AgentConnection, Event, Flags, Frame, FrameType, HaproxyHello,
};

use crate::frame::{frames, put_raw};
use crate::memory::Memory;
use crate::script::Script;

/// Bytes that the two agents and this check may hold, beyond the largest NOTIFY.
const HELD: usize = 128 << 10;

/// Runs a script of fragments. It begins with a byte for the largest NOTIFY.
pub fn check(script: &[u8]) {
    let memory = Memory::begin();
    let mut script = Script::new(script);
    let limit = 256 + 8 * usize::from(script.byte());
    let config = AgentConfig::new().with_fragmentation(limit.try_into().expect("2 KiB"));
    let mut fragmented = Agent::new(config);
    let mut whole = Agent::new(AgentConfig::new());
    let mut notify = None;
    while !script.is_over() && !fragmented.connection.is_closed() {
        let step = script.byte();
        let fragment = Fragment {
            ids: if step & 0x80 == 0 {
                [7, 1]
            } else {
                script.bytes()
            },
            starts: if step & 0x40 == 0 {
                notify.is_none()
            } else {
                step & 0x20 == 0
            },
            flags: [0, 0, 0, 1, 1, 1, 3, 2][usize::from(step % 8)],
            payload: script.counted(),
        };
        let seen = fragmented.receive(&fragment);
        let expected = by_the_text(&mut notify, &fragment, limit, &mut whole);
        assert_eq!(seen, expected, "{fragment:?} of at most {limit} bytes");
        memory.assert_at_most(HELD + 4 * limit);
    }
}

#[derive(Debug)]
struct Fragment<'a> {
    ids: [u8; 2],
    /// Whether it is a NOTIFY frame, or else UNSET.
    starts: bool,
    flags: u32,
    payload: &'a [u8],
}

impl Fragment<'_> {
    const fn is_last(&self) -> bool {
        self.flags & Flags::FIN.0 != 0
    }
}

/// What came of a NOTIFY so far.
struct Begun {
    ids: [u8; 2],
    /// `None`: too big, and given up.
    payload: Option<Vec<u8>>,
}

/// What an agent is to see of `fragment`, after those in `notify` (SPOE.txt §3.2 of HAProxy
/// 3.0). A NOTIFY that is complete goes to `agent`.
fn by_the_text(
    notify: &mut Option<Begun>,
    fragment: &Fragment<'_>,
    limit: usize,
    agent: &mut Agent,
) -> Seen {
    let collecting = matches!(
        notify,
        Some(Begun {
            payload: Some(_),
            ..
        })
    );
    if fragment.starts {
        if collecting {
            return Seen::Violation;
        }
        if fragment.is_last() {
            *notify = None;
            return agent.receive(fragment);
        }
        *notify = Some(Begun {
            ids: fragment.ids,
            payload: Some(Vec::new()),
        });
    }
    let Some(begun) = notify.as_mut().filter(|begun| begun.ids == fragment.ids) else {
        return Seen::Violation;
    };
    let Some(payload) = &mut begun.payload else {
        if fragment.is_last() {
            *notify = None;
        }
        return Seen::Nothing;
    };
    if !fragment.starts && fragment.flags == (Flags::FIN | Flags::ABORT).0 {
        *notify = None;
        return Seen::Nothing;
    }
    payload.extend_from_slice(fragment.payload);
    if payload.len() > limit {
        begun.payload = None;
        if fragment.is_last() {
            *notify = None;
        }
        return Seen::TooBig;
    }
    if !fragment.is_last() {
        return Seen::Nothing;
    }
    let whole = Fragment {
        starts: true,
        flags: Flags::FIN.0,
        payload: &std::mem::take(payload),
        ..*fragment
    };
    *notify = None;
    agent.receive(&whole)
}

/// What an agent saw of one frame, and wrote in answer.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Read on.
    Nothing,
    /// A question, or its refusal, in the words of the event.
    Event(String, Vec<Frame>),
    /// It was too big, and an ACK with ABORT said so.
    TooBig,
    /// Fragments mixed, or without a beginning.
    Violation,
}

struct Agent {
    connection: AgentConnection,
    input: BytesMut,
}

impl Agent {
    /// One that has shaken hands.
    fn new(config: AgentConfig) -> Self {
        let mut connection = AgentConnection::new(config, Duration::ZERO);
        let mut input = BytesMut::new();
        HaproxyHello::new(16_380, "engine").encode(&mut input);
        let ready = connection.poll_event(Duration::ZERO, &mut input);
        assert!(matches!(ready, Some(Event::Ready { .. })), "{ready:?}");
        connection.transmit().clear();
        Self { connection, input }
    }

    fn receive(&mut self, fragment: &Fragment<'_>) -> Seen {
        let frame_type = if fragment.starts {
            FrameType::NOTIFY
        } else {
            FrameType::UNSET
        };
        put_raw(
            frame_type,
            fragment.flags,
            fragment.ids,
            fragment.payload,
            &mut self.input,
        );
        let event = self.connection.poll_event(Duration::ZERO, &mut self.input);
        let Some(event) = event else {
            // Nothing to see, or the empty answer to a NOTIFY that was given up.
            let written = frames(self.connection.transmit().split());
            return match &written[..] {
                [] => Seen::Nothing,
                _ => Seen::Event(String::new(), written),
            };
        };
        let words = format!("{event:?}");
        match event {
            Event::Notify(ticket, _) => {
                self.connection.ack(ticket, &Actions::new());
            }
            Event::NotifyTooBig {
                stream_id,
                frame_id,
            } => {
                let [stream, frame] = fragment.ids.map(u64::from);
                assert_eq!((stream_id, frame_id), (stream, frame));
                let written = frames(self.connection.transmit().split());
                let [Frame::Ack(ack)] = &written[..] else {
                    panic!("{written:?}");
                };
                assert!(ack.is_aborted() && ack.actions().next().is_none());
                assert_eq!((ack.stream_id(), ack.frame_id()), (stream, frame));
                return Seen::TooBig;
            }
            Event::Closed(spop_codec::Closed::Violation(spop_codec::DecodeError::Interlaced)) => {
                return Seen::Violation;
            }
            _ => {}
        }
        assert_eq!(self.connection.in_flight(), 0);
        Seen::Event(words, frames(self.connection.transmit().split()))
    }
}
