//! The loop of one connection: timers, finished handlers, frames, one write, one read.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use spop_codec::{AckTicket, Actions, Closed, Event};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use tower_service::Service;
use tracing::debug;

use super::answers::{Answers, Duty};
use super::call::Call;
use super::in_flight::InFlight;
use super::pace::Pace;
use super::{Phase, Shared};
use crate::failure::Failure;
use crate::notify::{Arrival, ConnectionInfo, Notify};
use crate::observe::ConnectionEnd;
use crate::peer::Peer;
use crate::router::Router;

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
    answers: Answers,
    /// Where what is read now comes from, once the handshake is done.
    arrival: Option<Arrival>,
    in_flight: InFlight<Call<S>>,
    input: BytesMut,
    read_size: usize,
    /// Which answers wait.
    pace: Pace,
    /// Whether all was written, but for what waits.
    is_written: bool,
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
    /// Whom the timer wakes, while it is set and not yet over.
    timer_wakes: Option<Waker>,
    /// Since when nothing happens, while there is memory to give back.
    quiet: Option<Instant>,
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
            answers: Answers::new(peer, Arc::clone(&shared)),
            arrival: None,
            in_flight: InFlight::new(Arc::clone(&shared)),
            shared,
            input: BytesMut::new(),
            read_size: MIN_READ,
            pace: Pace::default(),
            is_written: true,
            write_stalled: None,
            unflushed: false,
            draining: false,
            paused: false,
            closed: None,
            origin,
            timer: Box::pin(sleep_until(origin)),
            timer_wakes: None,
            quiet: None,
            ended: false,
        }
    }

    pub(super) const fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Serving => {}
            Phase::LameDuck => self.answers.connection.refuse_checks(),
            Phase::Draining => {
                self.answers.connection.refuse_checks();
                self.draining = true;
            }
        }
    }

    /// NOTIFYs that have no answer yet.
    pub(super) const fn in_flight(&self) -> usize {
        self.answers.connection.in_flight()
    }

    /// Runs the connection until it ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.in_flight.register(cx.waker());
        let mut now = Instant::now();
        for _ in 0..TURNS {
            // Handlers first, and of them those whose time is over: on a busy machine a handler's
            // own timer and its deadline are both past by the time this runs. The answer it has
            // ready beats the policy's, and starts nobody else who is overdue.
            self.answer_overdue(now);
            self.answer_finished(now);
            if let Some(end) = self.expire(now) {
                return Poll::Ready(end);
            }
            let took = !self.input.is_empty() && self.take_frames(now);
            let blocked = !self.answers.connection.wants_read();
            if let Err(error) = self.flush(cx, now) {
                return Poll::Ready(ConnectionEnd::Io(error));
            }
            if self.is_written
                && !self.unflushed
                && let Some(closed) = self.closed.take()
            {
                return Poll::Ready(ConnectionEnd::Protocol(closed));
            }
            // Writing may have made room for frames that were read before.
            let unblocked = blocked && self.answers.connection.wants_read();
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
            // Reading takes no time to speak of, handlers may.
            if took || !read {
                now = Instant::now();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the connection, if that is wanted and there is nothing more to answer: the socket
    /// was read until it was empty, all of that is answered, and the answers are written.
    fn drain(&mut self, now: Instant) -> bool {
        let done = self.draining && self.answers.connection.in_flight() == 0 && self.is_caught_up();
        if done {
            self.draining = false;
            self.answers.connection.drain();
            self.take_frames(now);
        }
        done
    }

    /// Whether reading stopped because there was nothing to read, and no answer waits.
    fn is_caught_up(&self) -> bool {
        self.input.is_empty() && self.answers.connection.wants_read() && !self.pace.has_late()
    }

    fn answer_overdue(&mut self, now: Instant) {
        let answers = &mut self.answers;
        self.in_flight
            .expire(now, |finished| answers.finish(finished, now));
    }

    /// What is overdue at `now` beside answers: the connection itself.
    fn expire(&mut self, now: Instant) -> Option<ConnectionEnd> {
        if now < self.timer.deadline() {
            return None;
        }
        if let Some(Event::Closed(closed)) =
            self.answers.connection.handle_timeout(now - self.origin)
        {
            self.close(closed);
        }
        if self.quiet.is_some_and(|since| now >= since + QUIET) {
            self.give_memory_back();
        }
        let stalled = now - self.write_stalled?;
        (stalled >= self.shared.config.write_timeout).then_some(ConnectionEnd::WriteTimeout)
    }

    fn answer_finished(&mut self, now: Instant) {
        if self.in_flight.len() == 0 {
            return;
        }
        for index in self.in_flight.woken() {
            if let Some(finished) = self.in_flight.poll(index) {
                self.answers.finish(finished, now);
            }
        }
    }

    /// Answers or starts what was read. Whether there was anything.
    fn take_frames(&mut self, now: Instant) -> bool {
        let elapsed = now - self.origin;
        let mut took = false;
        if let Some(arrival) = &mut self.arrival {
            arrival.received = now.into_std();
        }
        self.answers.begin();
        loop {
            took |= self.answer_at_once(elapsed, now);
            let Some(event) = self.answers.connection.poll_event(elapsed, &mut self.input) else {
                break;
            };
            match event {
                Event::Notify(ticket, frame) => {
                    took = true;
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
                    self.arrival = Some(Arrival {
                        connection: Arc::new(info),
                        received: now.into_std(),
                    });
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
        self.answers.end(now);
        let paused = self.closed.is_none() && !self.answers.connection.wants_read();
        if paused
            && !self.paused
            && let Some(observer) = &self.shared.config.observer
        {
            observer.paused();
        }
        self.paused = paused;
        took
    }

    /// Answers what is at the front of the input and can be answered on the spot: NOTIFYs for
    /// a router's handlers that need no waiting. They need no future and no slot for it
    /// either, and their frame stays where it was read, which halves what they cost. Whether
    /// there were any.
    fn answer_at_once(&mut self, elapsed: Duration, now: Instant) -> bool {
        let service: &dyn Any = &self.service;
        let router = service
            .downcast_ref()
            .filter(|router| Router::is_quick(router));
        let (Some(router), Some(arrival)) = (router, &self.arrival) else {
            return false;
        };
        let mut actions = Actions::new();
        let mut taken = 0;
        while let Some(notify) = self
            .answers
            .connection
            .peek_notify(self.input.get(taken..).unwrap_or_default())
        {
            actions.clear();
            let answer = || router.answer_at_once(notify.messages(), arrival, &mut actions);
            let failure = match catch_unwind(AssertUnwindSafe(answer)) {
                Ok(true) => None,
                Ok(false) => break,
                Err(_panic) => Some(Failure::Panic),
            };
            let duty = Duty {
                ticket: self.answers.connection.accept(elapsed, &notify),
                received: now,
            };
            taken += notify.len();
            self.answers.received();
            let output = failure.map_or(Ok(&actions), Err);
            self.answers.give(duty, output, now);
        }
        self.input.advance(taken);
        taken > 0
    }

    fn notify(&mut self, ticket: AckTicket, frame: spop_codec::Notify, now: Instant) {
        let duty = Duty {
            ticket,
            received: now,
        };
        self.answers.received();
        let Some(arrival) = &self.arrival else {
            return self.answers.give(duty, Err(Failure::Error), now); // never: a HELLO came before
        };
        let notify = Notify {
            frame,
            arrival: arrival.clone(),
        };
        let call = Call::new(&self.service, notify);
        if let Some(finished) = self.in_flight.start(duty, call) {
            self.answers.finish(finished, now);
        }
    }

    fn close(&mut self, closed: Closed) {
        self.in_flight.clear();
        self.pace.forget();
        self.closed = Some(closed);
    }

    /// Writes what the socket takes, but for what waits.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        let acks = std::mem::take(&mut self.answers.ready);
        if acks > 0
            && let Some(observer) = &self.shared.config.observer
        {
            observer.acks_ready(acks);
        }
        let given_up = self
            .pace
            .given_up(acks, self.answers.connection.in_flight());
        let transmit = self.answers.connection.transmit();
        if self.is_written && given_up > 0 && self.closed.is_none() {
            self.pace.put_off(given_up, transmit);
        }
        if transmit.is_empty() && self.pace.has_late() {
            self.pace.follow(transmit);
        }
        self.is_written = false;
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
        self.is_written = true;
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
        if !self.answers.connection.wants_read() {
            return Poll::Pending;
        }
        self.input.reserve(self.read_size);
        let room = self.input.capacity() - self.input.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        self.pace.read(read == room);
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
        let over = self.timer.is_elapsed();
        let wakes = self.timer_wakes.as_ref();
        let is_set = !over && wakes.is_some_and(|waker| waker.will_wake(cx.waker()));
        let connection = self.answers.connection.poll_timeout();
        let connection = connection.and_then(|due| self.origin.checked_add(due));
        if is_set && self.is_quiet() && connection.is_some_and(|due| self.timer.deadline() <= due) {
            return Poll::Pending; // the idle timeout, which only moves on, is all there is
        }
        let write = self
            .write_stalled
            .and_then(|since| since.checked_add(self.shared.config.write_timeout));
        let quiet = self
            .holds_memory()
            .then(|| *self.quiet.get_or_insert(now) + QUIET);
        let handlers = self.in_flight.next_due();
        let pause = self.pace.due().filter(|_| self.is_written);
        let due = [connection, write, quiet, handlers, pause];
        let Some(due) = due.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if over || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        } else if is_set {
            return Poll::Pending; // as the last time it was polled
        }
        let over = self.timer.as_mut().poll(cx);
        self.timer_wakes = over.is_pending().then(|| cx.waker().clone());
        over
    }

    /// Whether nothing is in progress that could be overdue one day.
    fn is_quiet(&self) -> bool {
        self.input.is_empty()
            && self.in_flight.next_due().is_none()
            && self.write_stalled.is_none()
            && !self.pace.has_late()
            && !self.answers.connection.has_fragments()
            && (self.quiet.is_some() || !self.holds_memory())
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
            let transmit = self.answers.connection.transmit();
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
            observer.closed(end, self.answers.connection.in_flight());
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
