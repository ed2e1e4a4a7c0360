//! The loop of one connection: timers, finished handlers, frames, one write, one read.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use spop_codec::{AckOutcome, AckTicket, Actions, AgentConnection, Closed, Event};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use tower_service::Service;
use tracing::{debug, warn};

use super::call::{Call, call};
use super::in_flight::{Duty, InFlight};
use super::{Phase, Shared};
use crate::failure::Failure;
use crate::notify::{ConnectionInfo, Notify};
use crate::observe::ConnectionEnd;
use crate::peer::Peer;

/// Most bytes of one write. HAProxy 3.1 and later stall a connection for good when they
/// find 16 KiB unread on it.
const WRITE_CHUNK: usize = 8 * 1024;

/// Room for a read on a quiet connection; a busy one gets up to [`MAX_READ`].
const MIN_READ: usize = 4 * 1024;
const MAX_READ: usize = 64 * 1024;

/// Turns after which a busy connection lets others run.
const TURNS: usize = 32;

/// After this much quiet a connection gives back what memory it took when it was busy.
const QUIET: Duration = Duration::from_secs(10);

/// Longest `engine-id` that is kept, in bytes. HAProxy's have 36.
const MAX_ENGINE_ID: usize = 256;

pub(super) struct Driver<IO, S: Service<Notify>> {
    io: IO,
    peer: Peer,
    service: S,
    shared: Arc<Shared>,
    connection: AgentConnection,
    /// What the handshake agreed on, once it did.
    info: Option<Arc<ConnectionInfo>>,
    in_flight: InFlight<Call<S>>,
    input: BytesMut,
    read_size: usize,
    /// When the peer last took a byte, while there are more for it.
    write_stalled: Option<Instant>,
    /// Whether the socket may have kept some of what was written: TLS does.
    unflushed: bool,
    /// Whether to end once everything that came is answered.
    draining: bool,
    /// Whether reading has stopped for want of room.
    paused: bool,
    closed: Option<Closed>,
    /// Where the connection's clock starts.
    origin: Instant,
    timer: Pin<Box<Sleep>>,
    /// Since when nothing happens, while there is memory to give back.
    quiet: Option<Instant>,
    warned: bool,
    ended: bool,
}

impl<IO, S> Driver<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone + 'static,
{
    pub(super) fn new(io: IO, peer: Peer, service: S, shared: Arc<Shared>) -> Self {
        let origin = Instant::now();
        if let Some(observer) = &shared.config.observer {
            observer.accepted(&peer);
        }
        Self {
            io,
            peer,
            service,
            connection: AgentConnection::new(shared.config.agent.clone(), Duration::ZERO),
            info: None,
            in_flight: InFlight::new(Arc::clone(&shared)),
            shared,
            input: BytesMut::new(),
            read_size: MIN_READ,
            write_stalled: None,
            unflushed: false,
            draining: false,
            paused: false,
            closed: None,
            origin,
            timer: Box::pin(sleep_until(origin)),
            quiet: None,
            warned: false,
            ended: false,
        }
    }

    pub(super) const fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Serving => {}
            Phase::LameDuck => self.connection.refuse_checks(),
            Phase::Draining => {
                self.connection.refuse_checks();
                self.draining = true;
            }
        }
    }

    /// NOTIFYs that have no answer yet.
    pub(super) const fn in_flight(&self) -> usize {
        self.connection.in_flight()
    }

    /// Runs the connection until it ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.in_flight.register(cx.waker());
        for _ in 0..TURNS {
            let now = Instant::now();
            // Handlers first: on a busy machine a handler's own timer and its deadline are both
            // past by the time this runs, and the answer it has ready beats the policy's.
            self.answer_finished(now);
            if let Some(end) = self.expire(now) {
                return Poll::Ready(end);
            }
            self.take_frames(now);
            let blocked = !self.connection.wants_read();
            if let Err(error) = self.flush(cx, now) {
                return Poll::Ready(ConnectionEnd::Io(error));
            }
            if self.connection.transmit().is_empty()
                && !self.unflushed
                && let Some(closed) = self.closed.take()
            {
                return Poll::Ready(ConnectionEnd::Protocol(closed));
            }
            // Writing may have made room for frames that were read before.
            let unblocked = blocked && self.connection.wants_read();
            let read = match self.read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(ConnectionEnd::Eof),
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(ConnectionEnd::Io(error)),
                Poll::Pending => false,
            };
            let progress = read || unblocked || self.drain(now);
            if !progress && self.arm_timer(cx, now).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the connection, if that is wanted and there is nothing more to answer: the socket
    /// was read until it was empty, all of that is answered, and the answers are written.
    fn drain(&mut self, now: Instant) -> bool {
        let done = self.draining && self.connection.in_flight() == 0 && self.is_caught_up();
        if done {
            self.draining = false;
            self.connection.drain();
            self.take_frames(now);
        }
        done
    }

    /// Whether reading stopped because there was nothing to read.
    fn is_caught_up(&self) -> bool {
        self.input.is_empty() && self.connection.wants_read()
    }

    /// What is overdue at `now`: answers by policy, the connection itself.
    fn expire(&mut self, now: Instant) -> Option<ConnectionEnd> {
        if now < self.timer.deadline() {
            return None;
        }
        while let Some(duty) = self.in_flight.expire(now) {
            self.answer(duty, Err(Failure::Deadline), now);
        }
        if let Some(Event::Closed(closed)) = self.connection.handle_timeout(now - self.origin) {
            self.close(closed);
        }
        if self.quiet.is_some_and(|since| now >= since + QUIET) {
            self.give_memory_back();
        }
        let stalled = self.write_stalled?;
        (now >= stalled + self.shared.config.write_timeout).then_some(ConnectionEnd::WriteTimeout)
    }

    fn answer_finished(&mut self, now: Instant) {
        if self.in_flight.len() == 0 {
            return;
        }
        for index in self.in_flight.woken() {
            if let Some((duty, output)) = self.in_flight.poll(index) {
                self.answer(duty, output.as_ref().map_err(|failure| *failure), now);
            }
        }
    }

    fn take_frames(&mut self, now: Instant) {
        let elapsed = now - self.origin;
        let mut notifies = 0;
        while let Some(event) = self.connection.poll_event(elapsed, &mut self.input) {
            match event {
                Event::Notify(ticket, frame) => {
                    notifies += 1;
                    self.notify(ticket, frame, now);
                }
                Event::Ready {
                    negotiated,
                    engine_id,
                } => {
                    // A copy: the frame's memory is the read buffer's.
                    let engine_id = engine_id
                        .map(|id| Bytes::copy_from_slice(id.get(..MAX_ENGINE_ID).unwrap_or(&id)));
                    let info = ConnectionInfo::new(self.peer, engine_id, negotiated);
                    debug!(peer = %self.peer, engine_id = ?info.engine_id(), ?negotiated, "ready");
                    self.info = Some(Arc::new(info));
                    if let Some(observer) = &self.shared.config.observer {
                        observer.handshake(&negotiated);
                    }
                }
                Event::NotifyTooBig { .. } => {
                    debug!(peer = %self.peer, "a NOTIFY in fragments exceeds the limit");
                    if let Some(observer) = &self.shared.config.observer {
                        observer.notify_too_big();
                    }
                }
                Event::Closed(closed) => self.close(closed),
                _ => {}
            }
        }
        let paused = self.closed.is_none() && !self.connection.wants_read();
        if let Some(observer) = &self.shared.config.observer {
            if notifies > 0 {
                observer.received(notifies);
            }
            if paused && !self.paused {
                observer.paused();
            }
        }
        self.paused = paused;
    }

    fn notify(&mut self, ticket: AckTicket, frame: spop_codec::Notify, now: Instant) {
        let duty = Duty {
            ticket,
            received: now,
        };
        let Some(info) = &self.info else {
            return self.answer(duty, Err(Failure::Error), now); // never: a HELLO came before
        };
        let notify = Notify::new(frame, Arc::clone(info), now.into_std());
        let mut actions = Actions::new();
        let asked = || call(&self.service, notify, &mut actions);
        match catch_unwind(AssertUnwindSafe(asked)) {
            Ok(None) => self.answer(duty, Ok(&actions), now),
            Ok(Some(call)) => {
                if let Some((duty, output)) = self.in_flight.start(duty, call) {
                    self.answer(duty, output.as_ref().map_err(|failure| *failure), now);
                }
            }
            Err(_panic) => self.answer(duty, Err(Failure::Panic), now),
        }
    }

    /// Queues the ACK: the handler's, or the policy's if that cannot be.
    #[inline(always)]
    fn answer(&mut self, duty: Duty, output: Result<&Actions, Failure>, now: Instant) {
        let refused = match output {
            Ok(actions) => match self.connection.try_ack(duty.ticket, actions) {
                Ok(()) => return self.answered(None, duty.received, now),
                Err((ticket, AckOutcome::TooBig)) => (ticket, Failure::AckTooBig),
                Err((ticket, _)) => {
                    debug!(error = ?actions.error(), "HAProxy does not accept such a variable");
                    (ticket, Failure::VoidActions)
                }
            },
            Err(failure) => (duty.ticket, failure),
        };
        self.answer_by_policy(refused, duty.received, now);
    }

    #[cold]
    fn answer_by_policy(
        &mut self,
        (ticket, failure): (AckTicket, Failure),
        received: Instant,
        now: Instant,
    ) {
        self.warn(failure);
        let policy = &self.shared.config.failure_policy;
        // A policy that panics must not take the other NOTIFYs of the connection along.
        let actions = catch_unwind(AssertUnwindSafe(|| policy.answer(failure)));
        let actions = actions.unwrap_or_default();
        self.connection.ack(ticket, &actions);
        self.answered(Some(failure), received, now);
    }

    #[inline]
    fn answered(&self, failure: Option<Failure>, received: Instant, now: Instant) {
        if let Some(observer) = &self.shared.config.observer {
            observer.answered(failure, now - received);
        }
    }

    fn warn(&mut self, failure: Failure) {
        if self.warned {
            debug!(peer = %self.peer, %failure, "a NOTIFY is answered by policy");
            return;
        }
        self.warned = true;
        warn!(
            peer = %self.peer,
            %failure,
            "a NOTIFY is answered by policy; further ones of this connection at debug level"
        );
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
                    if written == transmit.len() {
                        // Unlike advancing, this leaves the buffer where it is.
                        transmit.clear();
                    } else {
                        transmit.advance(written);
                    }
                    self.write_stalled = None;
                    self.unflushed = true;
                    if let Some(observer) = &self.shared.config.observer {
                        observer.written(written);
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.write_stalled.get_or_insert(now);
                    return Ok(());
                }
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                    self.write_stalled = None;
                }
                Poll::Pending => {
                    self.write_stalled.get_or_insert(now);
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
        self.quiet = None;
        if let Some(observer) = &self.shared.config.observer {
            observer.read(read);
        }
        Poll::Ready(Ok(read))
    }

    /// Waits for whatever is due first. Ready when that is now.
    ///
    /// The timer is left alone while it is set to an earlier time: firing early is cheaper
    /// than moving it with every frame.
    fn arm_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let connection = self.connection.poll_timeout().map(|due| self.origin + due);
        let write = self
            .write_stalled
            .map(|since| since + self.shared.config.write_timeout);
        let quiet = self
            .holds_memory()
            .then(|| *self.quiet.get_or_insert(now) + QUIET);
        let idle = self.timer.is_elapsed();
        let due = [connection, write, quiet, self.in_flight.next_due()];
        let Some(due) = due.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if idle || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Whether a quiet connection has more memory than it needs.
    fn holds_memory(&self) -> bool {
        self.input.is_empty()
            && self.in_flight.len() == 0
            && (self.input.capacity() > MIN_READ || self.in_flight.holds_memory())
    }

    fn give_memory_back(&mut self) {
        self.quiet = None;
        if self.holds_memory() {
            self.input = BytesMut::new();
            self.read_size = MIN_READ;
            self.in_flight.shrink();
            let transmit = self.connection.transmit();
            if transmit.is_empty() {
                *transmit = BytesMut::new();
            }
        }
    }

    /// The end is known: tells the observer. What is left is to close the socket.
    pub(super) fn end(&mut self, end: &ConnectionEnd) -> &mut IO {
        self.tell(end);
        self.in_flight.clear();
        &mut self.io
    }
}

impl<IO, S: Service<Notify>> Driver<IO, S> {
    fn tell(&mut self, end: &ConnectionEnd) {
        if !self.ended
            && let Some(observer) = &self.shared.config.observer
        {
            observer.closed(end, self.connection.in_flight());
        }
        self.ended = true;
    }
}

impl<IO, S: Service<Notify>> Drop for Driver<IO, S> {
    fn drop(&mut self) {
        self.tell(&ConnectionEnd::Dropped);
        // Handlers may panic while they are dropped. Two of them in one go would be the end of
        // the process.
        self.in_flight.clear();
    }
}
