//! The loop of one connection: timers, finished handlers, frames, one write, one read.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use spop_codec::{AckOutcome, AckTicket, Actions, AgentConnection, Closed, Event};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use tower::util::{Oneshot, ServiceExt};
use tower_service::Service;
use tracing::{debug, warn};

use super::in_flight::InFlight;
use super::{End, Phase};
use crate::config::{Config, Failure};
use crate::notify::{ConnectionInfo, Notify};

/// Most bytes of one write. HAProxy 3.1 and later stall a connection for good when they
/// find 16 KiB unread on it.
const WRITE_CHUNK: usize = 8 * 1024;

/// Room for a read on a quiet connection; a busy one gets up to [`MAX_READ`].
const MIN_READ: usize = 4 * 1024;
const MAX_READ: usize = 64 * 1024;

/// Turns after which a busy connection lets others run.
const TURNS: usize = 32;

/// Longest `engine-id` that is kept, in bytes. HAProxy's have 36.
const MAX_ENGINE_ID: usize = 256;

pub(super) struct Driver<IO, S: Service<Notify>> {
    io: IO,
    peer: Option<SocketAddr>,
    service: S,
    config: Arc<Config>,
    connection: AgentConnection,
    /// What the handshake agreed on, once it did.
    info: Option<Arc<ConnectionInfo>>,
    in_flight: InFlight<Oneshot<S, Notify>>,
    input: BytesMut,
    read_size: usize,
    /// When the peer last took a byte, while there are more for it.
    write_stalled: Option<Instant>,
    closed: Option<Closed>,
    /// Where the connection's clock starts.
    origin: Instant,
    timer: Pin<Box<Sleep>>,
    warned: bool,
}

impl<IO, S> Driver<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone,
{
    pub(super) fn new(io: IO, peer: Option<SocketAddr>, service: S, config: Arc<Config>) -> Self {
        let origin = Instant::now();
        Self {
            io,
            peer,
            service,
            connection: AgentConnection::new(config.agent.clone(), Duration::ZERO),
            info: None,
            in_flight: InFlight::new(config.agent.max_in_flight()),
            config,
            input: BytesMut::new(),
            read_size: MIN_READ,
            write_stalled: None,
            closed: None,
            origin,
            timer: Box::pin(sleep_until(origin)),
            warned: false,
        }
    }

    pub(super) const fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Serving => {}
            Phase::LameDuck => self.connection.refuse_checks(),
            Phase::Draining => self.connection.drain(),
        }
    }

    pub(super) fn into_io(self) -> IO {
        self.io
    }

    /// Runs the connection until it ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.in_flight.register(cx.waker());
        for _ in 0..TURNS {
            let now = Instant::now();
            // Handlers first: on a busy machine a handler's own timer and its deadline are both
            // past by the time this runs, and the answer it has ready beats the policy's.
            self.answer_finished();
            if let Some(end) = self.expire(now) {
                return Poll::Ready(end);
            }
            self.take_frames(now);
            let blocked = !self.connection.wants_read();
            if let Err(error) = self.flush(cx, now) {
                return Poll::Ready(End::Io(error));
            }
            if self.connection.transmit().is_empty()
                && let Some(closed) = self.closed.take()
            {
                return Poll::Ready(End::Closed(closed));
            }
            // Writing may have made room for frames that were read before.
            let unblocked = blocked && self.connection.wants_read();
            let read = match self.read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Eof(self.connection.in_flight())),
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                Poll::Pending => false,
            };
            if !read && !unblocked && self.arm_timer(cx).is_pending() {
                self.give_memory_back();
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What is overdue at `now`: answers by policy, the connection itself.
    fn expire(&mut self, now: Instant) -> Option<End> {
        if now < self.timer.deadline() {
            return None;
        }
        while let Some(ticket) = self.in_flight.expire(now) {
            self.fail(ticket, Failure::Deadline);
        }
        if let Some(Event::Closed(closed)) = self.connection.handle_timeout(now - self.origin) {
            self.close(closed);
        }
        let stalled = self.write_stalled?;
        (now >= stalled + self.config.write_timeout).then_some(End::WriteTimeout)
    }

    fn answer_finished(&mut self) {
        for index in self.in_flight.woken() {
            if let Some((ticket, output)) = self.in_flight.poll(index) {
                self.answer(ticket, output);
            }
        }
    }

    fn take_frames(&mut self, now: Instant) {
        let elapsed = now - self.origin;
        while let Some(event) = self.connection.poll_event(elapsed, &mut self.input) {
            match event {
                Event::Ready {
                    negotiated,
                    engine_id,
                } => {
                    // A copy: the frame's memory is the read buffer's.
                    let engine_id = engine_id
                        .map(|id| Bytes::copy_from_slice(id.get(..MAX_ENGINE_ID).unwrap_or(&id)));
                    let info = ConnectionInfo::new(self.peer, engine_id, negotiated);
                    debug!(peer = ?self.peer, engine_id = ?info.engine_id(), ?negotiated, "ready");
                    self.info = Some(Arc::new(info));
                }
                Event::Notify(ticket, frame) => self.notify(ticket, frame, now),
                Event::Closed(closed) => self.close(closed),
                _ => {}
            }
        }
    }

    fn notify(&mut self, ticket: AckTicket, frame: spop_codec::Notify, now: Instant) {
        let Some(info) = &self.info else {
            return self.fail(ticket, Failure::VoidActions); // never: no NOTIFY before HELLO
        };
        let notify = Notify::new(frame, Arc::clone(info), now.into_std());
        let answer = self.service.clone().oneshot(notify);
        let due = now + self.config.handler_timeout;
        if let Some((ticket, output)) = self.in_flight.start(ticket, answer, due) {
            self.answer(ticket, output);
        }
    }

    fn answer(&mut self, ticket: AckTicket, output: Option<Result<Actions, Infallible>>) {
        let Some(Ok(actions)) = output else {
            return self.fail(ticket, Failure::Panic);
        };
        match self.connection.ack_outcome(&ticket, &actions) {
            AckOutcome::Void => {
                let error = actions.error().map(|error| error.to_string());
                debug!(
                    error,
                    "a handler set a variable that HAProxy does not accept"
                );
                self.fail(ticket, Failure::VoidActions);
            }
            AckOutcome::TooBig => self.fail(ticket, Failure::AckTooBig),
            _ => {
                self.connection.ack(ticket, &actions);
            }
        }
    }

    /// Answers by policy.
    fn fail(&mut self, ticket: AckTicket, failure: Failure) {
        if self.warned {
            debug!(peer = ?self.peer, %failure, "a NOTIFY is answered by policy");
        } else {
            self.warned = true;
            warn!(
                peer = ?self.peer,
                %failure,
                "a NOTIFY is answered by policy; further ones of this connection at debug level"
            );
        }
        let actions = (self.config.failure_actions)(failure);
        self.connection.ack(ticket, &actions);
    }

    fn close(&mut self, closed: Closed) {
        self.in_flight.clear();
        self.closed = Some(closed);
    }

    /// Writes what the socket takes.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        let transmit = self.connection.transmit();
        while !transmit.is_empty() {
            let chunk = transmit.get(..WRITE_CHUNK).unwrap_or(transmit);
            match Pin::new(&mut self.io).poll_write(cx, chunk) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    transmit.advance(written);
                    self.write_stalled = None;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.write_stalled.get_or_insert(now);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads once, if more input is welcome.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.connection.wants_read() {
            return Poll::Pending;
        }
        self.input.reserve(self.read_size);
        let room = self.input.capacity() - self.input.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(MAX_READ);
        } else if read < self.read_size / 8 {
            self.read_size = (self.read_size / 2).max(MIN_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Waits for whatever is due first. Ready when that is now.
    ///
    /// The timer is left alone while it is set to an earlier time: firing early is cheaper
    /// than moving it with every frame.
    fn arm_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection.poll_timeout().map(|due| self.origin + due);
        let write = self
            .write_stalled
            .map(|since| since + self.config.write_timeout);
        let idle = self.timer.is_elapsed();
        let due = [connection, write, self.in_flight.next_due()];
        let Some(due) = due.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if idle || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx)
    }

    /// A quiet connection keeps no large buffer.
    fn give_memory_back(&mut self) {
        if self.input.is_empty() && self.in_flight.len() == 0 && self.input.capacity() > MIN_READ {
            self.input = BytesMut::new();
            self.read_size = MIN_READ;
        }
    }
}
