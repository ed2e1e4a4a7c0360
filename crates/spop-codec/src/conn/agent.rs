//! The agent's side of one connection.
//!
//! ```text
//!             HAPROXY-HELLO                 DISCONNECT, violation,
//!  ┌───────┐  AGENT-HELLO   ┌─────────┐     timeout, drained        ┌────────┐
//!  │ Hello │───────────────▶│ Running │────────────────────────────▶│ Closed │
//!  └───────┘                └─────────┘                             └────────┘
//!      │  health check, DISCONNECT, violation, timeout                  ▲
//!      └────────────────────────────────────────────────────────────────┘
//! ```

mod answer;
mod config;
mod event;

pub use answer::{AckOutcome, AckTicket};
pub use config::{AgentConfig, ConfigError};
pub use event::{Closed, Event};

use core::time::Duration;

use bytes::BytesMut;

use super::UNKNOWN_FRAMES;

use crate::action::Actions;
use crate::capability::Capabilities;
use crate::decode::FrameDecoder;
use crate::error::DecodeError;
use crate::frame::{
    Ack, AgentHello, Disconnect, Flags, Frame, FrameType, HaproxyHello, Notify, PeekedNotify,
    RawFrame,
};
use crate::reassembly::{Reassembled, Reassembly};
use crate::status::Status;
use crate::varint;

/// Largest frame before the handshake, in bytes. HAProxy's HELLO has about 130.
const HELLO_LIMIT: u32 = 16_380;

/// Largest frame that HAProxy may send beyond the agreed size, having announced it.
const ANNOUNCED_LIMIT: u32 = 1 << 16;

/// The longest header of an ACK, length field included, in bytes.
const LARGEST_HEADER: usize = 4 + 5 + 2 * varint::MAX_LEN;

/// Bytes of answers waiting to be written at which reading pauses.
const TRANSMIT_LIMIT: usize = 1 << 16;

/// The state of one connection on the agent's side (SPOE.txt §3.2.3).
///
/// The owner of the socket reads into a buffer, calls [`poll_event`](Self::poll_event) until
/// it has nothing more, answers each [`Event::Notify`] once through [`ack`](Self::ack), and
/// writes what [`transmit`](Self::transmit) holds. `now` is a monotonic time since any fixed
/// instant of the owner's choice.
///
/// ```
/// use core::time::Duration;
/// use bytes::BytesMut;
/// use spop_codec::{Actions, AgentConfig, AgentConnection, Event, HaproxyHello, NotifyBuilder, Scope};
///
/// let now = Duration::ZERO;
/// let mut agent = AgentConnection::new(AgentConfig::new(), now);
/// let mut input = BytesMut::new();
/// HaproxyHello::new(16380, "an-engine").encode(&mut input);
/// NotifyBuilder::new().message("check-rate", [])?.build(1, 1).encode(&mut input);
///
/// assert!(matches!(agent.poll_event(now, &mut input), Some(Event::Ready { .. })));
/// let Some(Event::Notify(ticket, notify)) = agent.poll_event(now, &mut input) else { panic!() };
/// assert_eq!(notify.messages().next().unwrap().name(), "check-rate");
/// agent.ack(ticket, &Actions::new().set_var(Scope::Session, "ip_score", 0));
/// assert!(!agent.transmit().is_empty()); // AGENT-HELLO and ACK
/// # Ok::<(), spop_codec::TooManyArgs>(())
/// ```
#[derive(Debug)]
pub struct AgentConnection {
    config: AgentConfig,
    decoder: FrameDecoder,
    transmit: BytesMut,
    state: State,
    in_flight: usize,
    refusing_checks: bool,
    draining: bool,
    unknown_frames: u32,
    /// When the last whole frame came after the HELLO, which itself counts, or the
    /// connection began.
    last_frame: Duration,
    /// When the frame, or the NOTIFY in fragments, that is not complete yet was first seen.
    frame_started: Option<Duration>,
}

#[derive(Debug)]
enum State {
    Hello,
    Running {
        max_ack: usize,
        reassembly: Option<Reassembly>,
    },
    Closed,
}

impl AgentConnection {
    /// A new connection, accepted at `now`.
    pub fn new(config: AgentConfig, now: Duration) -> Self {
        Self {
            config,
            decoder: FrameDecoder::new(HELLO_LIMIT),
            transmit: BytesMut::new(),
            state: State::Hello,
            in_flight: 0,
            refusing_checks: false,
            draining: false,
            unknown_frames: 0,
            last_frame: now,
            frame_started: None,
        }
    }

    /// Takes frames off the front of `input` until one means something to the caller.
    ///
    /// `None` means: read more, answer more, write more, or wait until
    /// [`poll_timeout`](Self::poll_timeout). Call again after any of these, and after
    /// [`drain`](Self::drain). It takes in no NOTIFY while [`wants_read`](Self::wants_read) is
    /// false.
    #[must_use]
    #[inline]
    pub fn poll_event(&mut self, now: Duration, input: &mut BytesMut) -> Option<Event> {
        loop {
            if !self.wants_read() {
                // A frame that has to wait for us is not late.
                self.frame_started = None;
                return None;
            }
            let received = match self.decoder.next(input) {
                Ok(Some(raw)) => self.receive(raw),
                Ok(None) => return self.idle(now, input),
                Err(error) => Err(error),
            };
            // Before the HELLO other frames win no time.
            if matches!(self.state, State::Running { .. }) {
                self.last_frame = now;
            }
            if !self.has_fragments() {
                self.frame_started = None;
            }
            match received {
                Ok(None) => {}
                Ok(Some(event)) => return Some(event),
                Err(error) => return Some(self.violation(error)),
            }
        }
    }

    /// The NOTIFY at the front of `input`, where it is: for answering it on the spot, which
    /// costs half of what taking it out costs.
    ///
    /// Whoever answers it calls [`accept`](Self::accept) and takes [`PeekedNotify::len`] bytes
    /// off `input`. Whoever does not, or gets `None`, calls [`poll_event`](Self::poll_event),
    /// which gives the same NOTIFY, or whatever else there is.
    #[must_use]
    #[inline]
    pub fn peek_notify<'a>(&self, input: &'a [u8]) -> Option<PeekedNotify<'a>> {
        if !self.wants_read() || !self.takes_whole_frames() {
            return None;
        }
        let (header, payload, len) = self.decoder.peek(input)?;
        if header.frame_type != FrameType::NOTIFY || header.flags != Flags::FIN {
            return None;
        }
        PeekedNotify::new(header, payload, len)
    }

    /// Takes a NOTIFY in that [`peek_notify`](Self::peek_notify) gave, at `now`.
    #[inline]
    pub const fn accept(&mut self, now: Duration, notify: &PeekedNotify<'_>) -> AckTicket {
        self.in_flight += 1;
        self.last_frame = now;
        self.frame_started = None;
        AckTicket::of(notify)
    }

    /// Answers a NOTIFY. Invalid or oversized actions become an empty ACK, since HAProxy
    /// waits for one in any case; the outcome says so.
    pub fn ack(&mut self, ticket: AckTicket, actions: &Actions) -> AckOutcome {
        match self.try_ack(ticket, actions) {
            Ok(()) => AckOutcome::Queued,
            Err((ticket, outcome)) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if outcome != AckOutcome::Closed {
                    ticket.header().encode_whole(&[], &mut self.transmit);
                }
                outcome
            }
        }
    }

    /// Answers a NOTIFY, or says why these actions cannot be sent and gives the ticket back,
    /// for others.
    ///
    /// # Errors
    /// [`AckOutcome::Void`], [`AckOutcome::TooBig`] and [`AckOutcome::Closed`].
    #[inline]
    pub fn try_ack(
        &mut self,
        ticket: AckTicket,
        actions: &Actions,
    ) -> Result<(), (AckTicket, AckOutcome)> {
        match (self.ack_outcome(&ticket, actions), actions.payload()) {
            (AckOutcome::Queued, Some(payload)) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                ticket.header().encode_whole(payload, &mut self.transmit);
                Ok(())
            }
            (outcome, _) => Err((ticket, outcome)),
        }
    }

    /// What [`ack`](Self::ack) would do with these actions.
    #[inline]
    pub fn ack_outcome(&self, ticket: &AckTicket, actions: &Actions) -> AckOutcome {
        let State::Running { max_ack, .. } = self.state else {
            return AckOutcome::Closed;
        };
        match actions.payload() {
            None => AckOutcome::Void,
            Some(payload) if payload.len() + LARGEST_HEADER <= max_ack => AckOutcome::Queued,
            Some(payload) if payload.len() + 4 + ticket.header().encoded_len() <= max_ack => {
                AckOutcome::Queued
            }
            Some(_) => AckOutcome::TooBig,
        }
    }

    /// What waits to be written. The caller takes bytes off the front as the socket takes
    /// them, at most 8 KiB in one write, and writes all of it before closing.
    pub const fn transmit(&mut self) -> &mut BytesMut {
        &mut self.transmit
    }

    /// Whether more input is welcome: the one back-pressure bit. False while the limit of
    /// NOTIFYs is in flight or too many answers wait to be written, and when closed.
    pub fn wants_read(&self) -> bool {
        !matches!(self.state, State::Closed) && self.has_room()
    }

    /// NOTIFYs that wait for their ACK.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the connection ended: nothing is read any more.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// From now on a health check is refused, so that HAProxy turns elsewhere; everything
    /// else goes on.
    pub const fn refuse_checks(&mut self) {
        self.refusing_checks = true;
    }

    /// Ends the connection once everything that has come in is answered; implies
    /// [`refuse_checks`](Self::refuse_checks). Call [`poll_event`](Self::poll_event) next.
    pub const fn drain(&mut self) {
        self.refusing_checks = true;
        self.draining = true;
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next. Changes with
    /// every other call that takes `now`, mostly to later: a timer that fires early costs
    /// nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let idle = || self.last_frame.saturating_add(self.config.idle_timeout);
        match self.state {
            State::Closed => None,
            State::Hello => Some(self.last_frame.saturating_add(self.config.hello_timeout)),
            State::Running { .. } => match self.frame_started {
                Some(started) => Some(started.saturating_add(self.config.frame_timeout)),
                None => (self.in_flight == 0).then(idle),
            },
        }
    }

    /// Closes the connection if it is [due](Self::poll_timeout).
    #[must_use]
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Event> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        let (closed, status) = match (&self.state, self.frame_started) {
            (State::Hello, _) => (Closed::HelloTimeout, None),
            (_, Some(_)) => (Closed::FrameTimeout, Some(Status::TIMEOUT)),
            (_, None) => (Closed::IdleTimeout, Some(Status::TIMEOUT)),
        };
        Some(self.close(closed, status))
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.config.max_in_flight && self.transmit.len() < TRANSMIT_LIMIT
    }

    /// Whether the handshake is done, and no frame can be a part of one.
    const fn takes_whole_frames(&self) -> bool {
        matches!(
            self.state,
            State::Running {
                reassembly: None,
                ..
            }
        )
    }

    /// Whether a NOTIFY has begun to come in fragments, and is not complete.
    pub const fn has_fragments(&self) -> bool {
        matches!(&self.state, State::Running { reassembly: Some(reassembly), .. }
            if reassembly.is_pending())
    }

    /// No whole frame is there.
    fn idle(&mut self, now: Duration, input: &BytesMut) -> Option<Event> {
        let between_frames = input.is_empty() && !self.has_fragments();
        if !between_frames {
            self.frame_started.get_or_insert(now);
        }
        if self.draining && self.in_flight == 0 && between_frames {
            return Some(self.close(Closed::Drained, Some(Status::NORMAL)));
        }
        None
    }

    /// A frame or a fragment.
    fn receive(&mut self, raw: RawFrame) -> Result<Option<Event>, DecodeError> {
        let frame = match &mut self.state {
            State::Running {
                reassembly: Some(reassembly),
                ..
            } => match reassembly.push(raw)? {
                Reassembled::Frame(frame) => frame,
                Reassembled::Pending | Reassembled::Aborted => return Ok(None),
                Reassembled::TooBig {
                    stream_id,
                    frame_id,
                } => {
                    Ack::abort(stream_id, frame_id).encode(&mut self.transmit);
                    return Ok(Some(Event::NotifyTooBig {
                        stream_id,
                        frame_id,
                    }));
                }
            },
            _ => raw,
        };
        self.receive_whole(Frame::decode(frame)?)
    }

    fn receive_whole(&mut self, frame: Frame) -> Result<Option<Event>, DecodeError> {
        let frame_type = frame.frame_type();
        match (&self.state, frame) {
            (State::Hello, Frame::HaproxyHello(hello)) => Ok(Some(self.hello(hello))),
            (State::Running { .. }, Frame::Notify(notify)) => Ok(self.notify(notify)),
            (_, Frame::HaproxyDisconnect(bye)) => {
                Ok(Some(self.close(Closed::ByPeer(bye), Some(Status::NORMAL))))
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

    fn hello(&mut self, hello: HaproxyHello) -> Event {
        let own = self.config.capabilities();
        let negotiated = match hello.negotiate(self.config.max_frame_size, own) {
            Ok(negotiated) => negotiated,
            Err(status) => return self.close(Closed::Refused(status), Some(status)),
        };
        if hello.healthcheck && self.refusing_checks {
            return self.close(Closed::HealthCheckRefused, Some(Status::RESOURCE));
        }
        AgentHello::new(&negotiated).encode(&mut self.transmit);
        if hello.healthcheck {
            // Not a byte may follow the HELLO: HAProxy 3.1 and later would read it as part
            // of it and call the server down.
            return self.close(Closed::HealthCheck, None);
        }
        let accepted = ANNOUNCED_LIMIT.max(self.config.max_frame_size);
        self.decoder
            .set_limit(negotiated.announced_frame_size.min(accepted));
        // The length field does not count itself; one byte less than agreed is what every
        // version of HAProxy takes.
        let mut max_ack = negotiated.max_frame_size as usize + 3;
        if negotiated.capabilities.contains(Capabilities::PIPELINING) {
            max_ack = max_ack.min(self.config.max_ack_size as usize);
        }
        self.state = State::Running {
            max_ack,
            reassembly: self.config.fragmentation.map(Reassembly::new),
        };
        Event::Ready {
            negotiated,
            engine_id: hello.engine_id,
        }
    }

    #[inline(always)]
    fn notify(&mut self, notify: Notify) -> Option<Event> {
        if notify.is_aborted() {
            self.aborted(&notify);
            return None;
        }
        self.in_flight += 1;
        Some(Event::Notify(AckTicket::new(&notify), notify))
    }

    /// Nobody waits for a decision, but an empty ACK is never wrong.
    #[cold]
    fn aborted(&mut self, notify: &Notify) {
        self.in_flight += 1;
        self.ack(AckTicket::new(notify), &Actions::new());
    }

    fn violation(&mut self, error: DecodeError) -> Event {
        self.close(Closed::Violation(error), Some(error.status()))
    }

    /// Queues the goodbye, behind the answers that are ready, and ends.
    fn close(&mut self, closed: Closed, status: Option<Status>) -> Event {
        self.state = State::Closed;
        if let Some(status) = status {
            Disconnect::new(status).encode(FrameType::AGENT_DISCONNECT, &mut self.transmit);
        }
        Event::Closed(closed)
    }
}
