//! One connection under load: writes what [`Load`] says, and reads and judges what comes.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use spop_client::ClientError;
use spop_client::spop_codec::{DecodeError, Disconnect, Frame, FrameDecoder, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::load::Load;
use super::tally::SharedTally;
use super::timeline::Timeline;
use super::timer::Timer;

/// Bytes that there is room for when reading; an ACK has some 30.
const READ_SIZE: usize = 8192;

/// The longest time between two looks at what the peer has no part in: whether the run is
/// over, and who waits too long.
const LONGEST_TICK: Duration = Duration::from_millis(100);

/// What a connection works with.
#[derive(Debug)]
pub(super) struct Connection<S> {
    io: S,
    load: Load,
    timeline: Arc<Timeline>,
    tally: SharedTally,
    decoder: FrameDecoder,
    input: BytesMut,
    output: Vec<u8>,
    /// Bytes of `output` that the socket has taken.
    written: usize,
    /// Why it takes no more.
    write_error: Option<io::Error>,
    tick: Interval,
    /// For the due times of a fixed rate.
    timer: Option<Timer>,
}

/// Why [`Connection::turn`] did not wait any longer.
enum Woken {
    /// Bytes came; none is the end of the stream.
    Read(usize),
    /// A NOTIFY is due.
    Due,
    Tick,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Must be called within the runtime that [`run`](Self::run) is to run on. ACKs may have
    /// up to `max_frame_size` bytes.
    pub(super) fn new(
        io: S,
        max_frame_size: u32,
        load: Load,
        timeline: Arc<Timeline>,
        tally: SharedTally,
    ) -> io::Result<Self> {
        let period = (timeline.timeout / 4).clamp(Duration::from_millis(1), LONGEST_TICK);
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let timer = if load.is_paced() {
            Some(Timer::new()?)
        } else {
            None
        };
        Ok(Self {
            io,
            load,
            timeline,
            tally,
            decoder: FrameDecoder::new(max_frame_size),
            input: BytesMut::with_capacity(4 * READ_SIZE),
            output: Vec::new(),
            written: 0,
            write_error: None,
            tick,
            timer,
        })
    }

    /// Sends until the run is over, waits for what is in flight, and ends the connection.
    pub(super) async fn run(mut self) {
        let result = match self.send().await {
            Ok(()) => self.drain().await,
            failed => failed,
        };
        let mut tally = self.tally.lock();
        if let Err(error) = result {
            tally.failed(&error);
        }
        tally.missing += self.load.unanswered() as u64;
    }

    async fn send(&mut self) -> Result<(), ClientError> {
        while self.timeline.is_sending() {
            self.queue(self.timeline.now());
            self.turn(self.load.next_due()).await?;
        }
        if self.load.is_paced() {
            // What became due since the last look is no one's fault.
            let end = self.timeline.now();
            self.queue(end);
            self.tally.lock().unsent += self.load.skip_overdue(end);
        }
        Ok(())
    }

    fn queue(&mut self, now: Duration) {
        let queued = self.load.queue(now, &mut self.output);
        self.tally.lock().queued(queued);
    }

    /// Waits for the ACKs of what is in flight, then says HAPROXY-DISCONNECT and waits for
    /// the end, because an agent can still send an ACK too many.
    async fn drain(&mut self) -> Result<(), ClientError> {
        while self.load.waiting() > 0 && !self.timeline.is_abandoned() {
            self.turn(None).await?;
        }
        let mut goodbye = BytesMut::new();
        Frame::HaproxyDisconnect(Disconnect::new(Status::NORMAL)).encode(&mut goodbye);
        self.output.extend_from_slice(&goodbye);
        let deadline = self.timeline.now() + self.timeline.timeout;
        while self.timeline.now() < deadline && !self.timeline.is_abandoned() {
            match self.turn(None).await {
                Ok(()) => {}
                // Agents end in all these ways, and nothing is asked any more.
                Err(ClientError::Disconnected(_) | ClientError::Closed | ClientError::Io(_)) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes, and waits until bytes came, `due` is there, or it is time to look around.
    async fn turn(&mut self, due: Option<Duration>) -> Result<(), ClientError> {
        match poll_fn(|cx| self.poll(cx, due)).await? {
            Woken::Read(0) => Err(match (self.write_error.take(), self.input.len()) {
                (Some(error), 0) => error.into(),
                (None, 0) => ClientError::Closed,
                (_, bytes) => ClientError::Truncated { bytes },
            }),
            Woken::Read(bytes) => self.judge(bytes),
            Woken::Due => Ok(()),
            Woken::Tick => {
                self.load.give_up(self.timeline.now());
                self.write_error
                    .take()
                    .map_or(Ok(()), |error| Err(error.into()))
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, due: Option<Duration>) -> Poll<io::Result<Woken>> {
        self.poll_write(cx);
        self.input.reserve(READ_SIZE);
        if let Poll::Ready(bytes) = pin!(self.io.read_buf(&mut self.input)).poll(cx)? {
            return Poll::Ready(Ok(Woken::Read(bytes)));
        }
        if let (Some(due), Some(timer)) = (due, &mut self.timer)
            && timer.poll(cx, self.timeline.at(due))?.is_ready()
        {
            return Poll::Ready(Ok(Woken::Due));
        }
        self.tick.poll_tick(cx).map(|_| Ok(Woken::Tick))
    }

    /// Writes what the socket takes. An error is kept for later: what the agent said last
    /// explains more, and is still to be read.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        while self.write_error.is_none()
            && let Some(rest) = self.output.get(self.written..)
            && !rest.is_empty()
        {
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    self.written += bytes;
                    self.tally.lock().bytes_out += bytes as u64;
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
        }
        self.output.clear();
        self.written = 0;
    }

    /// Judges every frame that is there, after `bytes` more were read.
    fn judge(&mut self, bytes: usize) -> Result<(), ClientError> {
        let now = self.timeline.now();
        let mut tally = self.tally.lock();
        tally.bytes_in += bytes as u64;
        while let Some(raw) = self.decoder.next(&mut self.input)? {
            let frame_type = raw.header.frame_type;
            match Frame::decode(raw)? {
                Frame::Ack(ack) => {
                    let answer = self.load.answer(ack.stream_id(), ack.frame_id(), now);
                    tally.answer(answer, self.timeline.measured_from);
                    tally.empty += u64::from(ack.actions().next().is_none());
                }
                Frame::AgentDisconnect(bye) => return Err(ClientError::Disconnected(bye)),
                Frame::Unknown(_) => {}
                _ => return Err(DecodeError::Unexpected { frame_type }.into()),
            }
        }
        Ok(())
    }
}
