//! HAProxy's side of one connection.
//!
//! ```text
//!             AGENT-HELLO                   AGENT-DISCONNECT,
//!  ┌───────┐               ┌─────────┐      violation            ┌────────┐
//!  │ Hello │──────────────▶│ Running │──────────────────────────▶│ Closed │
//!  └───────┘               └─────────┘                           └────────┘
//!    │   │ disconnect()         │ disconnect()                      ▲  ▲
//!    │   ▼                      ▼                                   │  │
//!    │ ┌──────────────────────────┐  AGENT-DISCONNECT, timeout      │  │
//!    │ │      Disconnecting       │─────────────────────────────────┘  │
//!    │ └──────────────────────────┘                                    │
//!    └─────────────────────────────────────────────────────────────────┘
//!       health check done, refused, AGENT-DISCONNECT, violation, timeout
//! ```

mod config;
mod event;
mod in_flight;

pub use config::HaproxyConfig;
pub use event::{HaproxyClosed, HaproxyEvent, NotifyError};

use core::time::Duration;

use bytes::BytesMut;

use self::in_flight::{Answered, InFlight};
use super::UNKNOWN_FRAMES;
use crate::capability::Capabilities;
use crate::decode::FrameDecoder;
use crate::error::DecodeError;
use crate::frame::{
    Ack, AgentHello, Disconnect, Flags, Frame, FrameType, Header, MIN_FRAME_SIZE, Negotiated,
    Notify, NotifyBuilder, RawFrame,
};
use crate::status::Status;

/// Bytes of the length field in front of each frame, which it does not count.
const LENGTH_FIELD: usize = 4;

/// Bytes waiting to be written at which no NOTIFY is taken any more.
const TRANSMIT_LIMIT: usize = 1 << 16;

/// The frame-id of a NOTIFY of HAProxy 3.1 and later, which opens a stream for each.
const FRAME_ID: u64 = 1;

/// The state of one connection on HAProxy's side (SPOE.txt §3.2.3).
///
/// The counterpart of [`AgentConnection`](crate::AgentConnection), for whoever tests agents
/// or plays HAProxy: strict where any version of HAProxy is. The owner of the socket writes
/// what [`transmit`](Self::transmit) holds, which is the HAPROXY-HELLO at first, reads into
/// a buffer and calls [`poll_event`](Self::poll_event) until it has nothing more. `now` is a
/// monotonic time since any fixed instant of the owner's choice.
///
/// Each NOTIFY that was taken ends in one way out of three: an [`HaproxyEvent::Ack`], an
/// [`HaproxyEvent::TimedOut`], or the end of the connection, which voids those that are
/// still [`waiting`](Self::waiting). When the socket ends before an
/// [`HaproxyEvent::Closed`], it does so too.
///
/// ```
/// use core::time::Duration;
/// use bytes::BytesMut;
/// use spop_codec::{
///     Ack, Actions, AgentHello, Capabilities, HaproxyConfig, HaproxyConnection, HaproxyEvent,
///     HaproxyHello, NotifyBuilder,
/// };
///
/// let now = Duration::ZERO;
/// let hello = HaproxyHello::new(16380, "an-engine");
/// let agreed = hello.negotiate(16380, Capabilities::PIPELINING)?;
/// let mut haproxy = HaproxyConnection::new(HaproxyConfig::new(hello), now);
/// assert!(!haproxy.transmit().split().is_empty()); // the HAPROXY-HELLO
///
/// let mut input = BytesMut::new(); // what an agent writes
/// AgentHello::new(&agreed).encode(&mut input);
/// assert!(matches!(haproxy.poll_event(now, &mut input), Some(HaproxyEvent::Ready(_))));
///
/// let question = NotifyBuilder::new().message("check-rate", []).unwrap();
/// let stream_id = haproxy.notify(now, question).unwrap();
/// assert!(!haproxy.transmit().split().is_empty()); // the NOTIFY
///
/// Ack::new(stream_id, 1, &Actions::new()).encode(&mut input);
/// let event = haproxy.poll_event(now, &mut input);
/// assert!(matches!(event, Some(HaproxyEvent::Ack { ack, .. }) if ack.stream_id() == stream_id));
/// # Ok::<(), spop_codec::Status>(())
/// ```
#[derive(Debug)]
pub struct HaproxyConnection {
    config: HaproxyConfig,
    decoder: FrameDecoder,
    transmit: BytesMut,
    state: State,
    agent_hello: Option<AgentHello>,
    in_flight: InFlight,
    next_stream_id: u64,
    unknown_frames: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The agent's HELLO is due.
    Hello {
        due: Duration,
    },
    Running(Negotiated),
    /// The agent's DISCONNECT is due.
    Disconnecting {
        due: Duration,
    },
    Closed,
}

impl HaproxyConnection {
    /// A new connection, established at `now`. The HAPROXY-HELLO waits in the transmit
    /// buffer.
    pub fn new(config: HaproxyConfig, now: Duration) -> Self {
        let announced = config.hello.max_frame_size.unwrap_or_default();
        let announced = u32::try_from(announced).unwrap_or(u32::MAX);
        let mut transmit = BytesMut::new();
        config.hello.encode(&mut transmit);
        Self {
            // A HELLO that announces too little is to be told so.
            decoder: FrameDecoder::new(announced.max(MIN_FRAME_SIZE)),
            transmit,
            state: State::Hello {
                due: now.saturating_add(config.hello_timeout),
            },
            agent_hello: None,
            in_flight: InFlight::new(config.processing_timeout),
            next_stream_id: 1,
            unknown_frames: 0,
            config,
        }
    }

    /// Takes frames off the front of `input` until one means something to the caller.
    ///
    /// `None` means: read more, or wait until [`poll_timeout`](Self::poll_timeout). Call
    /// again after any of these.
    #[must_use]
    pub fn poll_event(&mut self, now: Duration, input: &mut BytesMut) -> Option<HaproxyEvent> {
        while !self.is_closed() {
            let received = match self.decoder.next(input) {
                Ok(Some(raw)) => self.receive(raw, now, input.len()),
                Ok(None) => return None,
                Err(error) => Err(error),
            };
            match received {
                Ok(None) => {}
                Ok(Some(event)) => return Some(event),
                Err(error) => {
                    return Some(self.close(HaproxyClosed::Violation(error), Some(error.status())));
                }
            }
        }
        None
    }

    /// Asks, under the next stream-id, which it returns, and frame-id 1: stream-ids are 1,
    /// 3, 5, … as HAProxy 3.1 and later count.
    ///
    /// # Errors
    /// As [`notify_with_ids`](Self::notify_with_ids). Nothing is sent then.
    pub fn notify(&mut self, now: Duration, messages: NotifyBuilder) -> Result<u64, NotifyError> {
        while self.in_flight.contains(self.next_stream_id, FRAME_ID) {
            self.next_stream_id = self.next_stream_id.wrapping_add(2);
        }
        let stream_id = self.next_stream_id;
        self.notify_with_ids(now, &messages.build(stream_id, FRAME_ID))?;
        self.next_stream_id = stream_id.wrapping_add(2);
        Ok(stream_id)
    }

    /// Asks, under ids of the caller's choice: HAProxy up to 3.0 counts streams from 0, and
    /// the frames of each from 1. Both only ever count upward; ids that go down make a late
    /// ACK look like one that nobody asked for.
    ///
    /// # Errors
    /// [`NotifyError::NotReady`] before the handshake is done and after the end,
    /// [`NotifyError::Full`] without [`room`](Self::room), [`NotifyError::TooBig`] beyond the
    /// max-frame-size that was agreed on, [`NotifyError::InFlight`] if a NOTIFY with the same
    /// ids waits. Nothing is sent then.
    pub fn notify_with_ids(&mut self, now: Duration, notify: &Notify) -> Result<(), NotifyError> {
        let State::Running(negotiated) = self.state else {
            return Err(NotifyError::NotReady);
        };
        if self.room() == 0 {
            return Err(NotifyError::Full);
        }
        let (stream_id, frame_id) = (notify.stream_id(), notify.frame_id());
        if self.in_flight.contains(stream_id, frame_id) {
            return Err(NotifyError::InFlight {
                stream_id,
                frame_id,
            });
        }
        let start = self.transmit.len();
        notify.encode(&mut self.transmit);
        let length = self.transmit.len() - start - LENGTH_FIELD;
        let limit = negotiated.max_frame_size;
        if length > limit as usize {
            self.transmit.truncate(start);
            return Err(NotifyError::TooBig { length, limit });
        }
        self.in_flight.insert(stream_id, frame_id, now);
        Ok(())
    }

    /// Says HAPROXY-DISCONNECT and voids what is in flight. The agent's DISCONNECT is waited
    /// for, as long as for its HELLO; everything else that it sends is ignored. Nothing
    /// happens once the connection has ended.
    pub fn disconnect(&mut self, now: Duration, status: Status) {
        if matches!(self.state, State::Hello { .. } | State::Running(_)) {
            self.say_goodbye(status);
            let due = now.saturating_add(self.config.hello_timeout);
            self.state = State::Disconnecting { due };
        }
    }

    /// What waits to be written. The caller takes bytes off the front as the socket takes
    /// them, and writes all of it before closing.
    pub const fn transmit(&mut self) -> &mut BytesMut {
        &mut self.transmit
    }

    /// How many NOTIFYs are taken now: what is left of the limit
    /// ([`HaproxyConfig::with_max_in_flight`]), which is 1 unless pipelining was agreed on.
    /// None before the handshake is done, or while 64 KiB wait to be written.
    pub fn room(&self) -> usize {
        let State::Running(negotiated) = self.state else {
            return 0;
        };
        if self.transmit.len() >= TRANSMIT_LIMIT {
            return 0;
        }
        let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
        let limit = if pipelining {
            self.config.max_in_flight
        } else {
            1
        };
        limit.saturating_sub(self.in_flight.len())
    }

    /// NOTIFYs that wait for their ACK.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Stream-id and frame-id of the NOTIFYs that wait for their ACK, in the order they were
    /// asked. After the end: those that the end made void.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, u64)> {
        self.in_flight.iter()
    }

    /// What the agent announced, once it did.
    pub const fn agent_hello(&self) -> Option<&AgentHello> {
        self.agent_hello.as_ref()
    }

    /// Whether the connection ended: nothing is read any more.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next. Changes with
    /// every other call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Hello { due } | State::Disconnecting { due } => Some(due),
            State::Running(_) => self.in_flight.next_due(),
            State::Closed => None,
        }
    }

    /// Gives up what is [due](Self::poll_timeout): the oldest NOTIFY, or the connection that
    /// waits for a HELLO or a DISCONNECT. Call again until there is no event.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Duration) -> Option<HaproxyEvent> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        match self.state {
            State::Hello { .. } => Some(self.close(HaproxyClosed::HelloTimeout, None)),
            State::Disconnecting { .. } => {
                Some(self.close(HaproxyClosed::Disconnected(None), None))
            }
            State::Running(_) => {
                let (stream_id, frame_id) = self.in_flight.pop_oldest()?;
                Some(HaproxyEvent::TimedOut {
                    stream_id,
                    frame_id,
                })
            }
            State::Closed => None,
        }
    }

    /// `more` is the number of bytes that came behind the frame.
    fn receive(
        &mut self,
        raw: RawFrame,
        now: Duration,
        more: usize,
    ) -> Result<Option<HaproxyEvent>, DecodeError> {
        let Header {
            frame_type, flags, ..
        } = raw.header;
        let disconnecting = matches!(self.state, State::Disconnecting { .. });
        if disconnecting && frame_type != FrameType::AGENT_DISCONNECT {
            return Ok(None);
        }
        match (self.state, Frame::decode(raw)?) {
            (State::Hello { .. }, Frame::AgentHello(hello)) => {
                self.hello(hello, flags, more).map(Some)
            }
            (State::Running(_), Frame::Ack(ack)) => self.ack(ack, now).map(Some),
            (State::Disconnecting { .. }, Frame::AgentDisconnect(bye)) => Ok(Some(
                self.close(HaproxyClosed::Disconnected(Some(bye)), None),
            )),
            (_, Frame::AgentDisconnect(bye)) => {
                Ok(Some(self.close(HaproxyClosed::ByPeer(bye), None)))
            }
            (_, Frame::Unknown(_)) => {
                self.unknown_frames += 1;
                if self.unknown_frames > UNKNOWN_FRAMES {
                    return Err(DecodeError::UnknownFrameFlood);
                }
                Ok(None)
            }
            _ => Err(DecodeError::Unexpected { frame_type }),
        }
    }

    fn hello(
        &mut self,
        hello: AgentHello,
        flags: Flags,
        more: usize,
    ) -> Result<HaproxyEvent, DecodeError> {
        let checked = hello.check(&self.config.hello);
        self.agent_hello = Some(hello);
        let negotiated = match checked {
            Ok(negotiated) => negotiated,
            Err(status) => return Ok(self.close(HaproxyClosed::Refused(status), Some(status))),
        };
        if self.config.hello.healthcheck {
            if flags != Flags::FIN {
                return Err(DecodeError::HealthCheckFlags { flags });
            }
            if more > 0 {
                return Err(DecodeError::HealthCheckTrailing { bytes: more });
            }
            return Ok(self.close(HaproxyClosed::HealthCheck(negotiated), None));
        }
        self.decoder.set_limit(negotiated.max_frame_size);
        self.state = State::Running(negotiated);
        Ok(HaproxyEvent::Ready(negotiated))
    }

    fn ack(&mut self, ack: Ack, now: Duration) -> Result<HaproxyEvent, DecodeError> {
        let (stream_id, frame_id) = (ack.stream_id(), ack.frame_id());
        match self.in_flight.answer(stream_id, frame_id, now) {
            Answered::InTime { elapsed } => Ok(HaproxyEvent::Ack { ack, elapsed }),
            Answered::Late => Ok(HaproxyEvent::LateAck(ack)),
            Answered::Unknown => Err(DecodeError::UnknownAck {
                stream_id,
                frame_id,
            }),
        }
    }

    /// Ends the connection, behind a goodbye where HAProxy says one: it does once, and never
    /// in a health check.
    fn close(&mut self, closed: HaproxyClosed, status: Option<Status>) -> HaproxyEvent {
        if let Some(status) = status
            && matches!(self.state, State::Hello { .. } | State::Running(_))
            && !self.config.hello.healthcheck
        {
            self.say_goodbye(status);
        }
        self.state = State::Closed;
        HaproxyEvent::Closed(closed)
    }

    fn say_goodbye(&mut self, status: Status) {
        Disconnect::new(status).encode(FrameType::HAPROXY_DISCONNECT, &mut self.transmit);
    }
}
