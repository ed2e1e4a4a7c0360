//! One connection of a case, and what is to come back on it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spop_codec::{Ack, AgentHello, Disconnect, Frame, FrameDecoder, Header, RawFrame, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::stream::Stream;
use super::wire::Ids;
use super::{Stop, Verdict};
use crate::error::ClientError;
use crate::hello::MAX_FRAME_SIZE;

/// Bytes asked for in one read.
const READ_SIZE: usize = 8192;

/// How long to wait for what should not come.
pub(super) const A_WHILE: Duration = Duration::from_millis(250);

/// The highest status that an agent may give: HAProxy 3.1 and later look it up in a table of
/// a hundred.
const MAX_STATUS: u32 = 99;

/// HAProxy up to 3.0 refuses a longer message in a DISCONNECT.
const MAX_MESSAGE: usize = 255;

/// A connection under test. Unlike [`Connection`](crate::Connection), it goes on reading when
/// nothing can be written any more: what the agent said last is of interest.
#[derive(Debug)]
pub(super) struct Probe {
    io: Stream,
    decoder: FrameDecoder,
    input: BytesMut,
    timeout: Duration,
}

/// An ACK, with what was to be seen of it before it was decoded.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ack: Ack,
    pub(super) header: Header,
    pub(super) payload: Bytes,
}

impl Probe {
    /// Takes a fresh connection. Each wait on it ends after `timeout`.
    pub(super) fn new(io: Stream, timeout: Duration) -> Self {
        Self {
            io,
            decoder: FrameDecoder::new(MAX_FRAME_SIZE),
            input: BytesMut::new(),
            timeout,
        }
    }

    /// Writes `bytes` in one write. If the agent hung up, that is found out by what can be
    /// read.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Verdict {
        match timeout(self.timeout, self.io.write_all(bytes)).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let expected = format!("the agent to take {} bytes", bytes.len());
                let got = format!("no room for them for {:?}", self.timeout);
                Err(Stop::failed(expected, got))
            }
        }
    }

    /// Writes `bytes` one by one, with time for the agent to read each alone.
    pub(super) async fn send_slowly(&mut self, bytes: &[u8]) -> Verdict {
        for byte in bytes {
            self.send(std::slice::from_ref(byte)).await?;
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The AGENT-HELLO comes next.
    pub(super) async fn agent_hello(&mut self) -> Verdict<AgentHello> {
        let (_, hello) = self.agent_hello_and_header().await?;
        Ok(hello)
    }

    /// The AGENT-HELLO comes next; with its header.
    pub(super) async fn agent_hello_and_header(&mut self) -> Verdict<(Header, AgentHello)> {
        match self.frame("an AGENT-HELLO").await? {
            (raw, Frame::AgentHello(hello)) => Ok((raw.header, hello)),
            (raw, other) => Err(Stop::failed("an AGENT-HELLO", told(&raw, &other))),
        }
    }

    /// The ACK for `ids` comes next. Frames of types that nobody assigned may precede it, since
    /// HAProxy skips those.
    pub(super) async fn ack(&mut self, ids: Ids) -> Verdict<Answer> {
        let expected = format!("the ACK for stream-id {}, frame-id {}", ids.0, ids.1);
        let answer = self.next_ack(&expected).await?;
        let got = (answer.ack.stream_id(), answer.ack.frame_id());
        if got != ids {
            let got = format!("one for stream-id {}, frame-id {}", got.0, got.1);
            return Err(Stop::failed(expected, got));
        }
        Ok(answer)
    }

    /// An ACK comes for each of `ids`, in any order, and no other.
    pub(super) async fn acks(&mut self, ids: &[Ids]) -> Verdict<Vec<Answer>> {
        let mut missing: HashMap<Ids, usize> = HashMap::new();
        for &ids in ids {
            *missing.entry(ids).or_default() += 1;
        }
        let mut answers = Vec::new();
        for count in 0..ids.len() {
            let expected = format!("{} ACKs, number {}", ids.len(), count + 1);
            let answer = self.next_ack(&expected).await?;
            let ids = (answer.ack.stream_id(), answer.ack.frame_id());
            match missing.get_mut(&ids) {
                Some(left @ 1..) => *left -= 1,
                _ => {
                    let got = "which nobody waits for";
                    let got = format!("one for stream-id {}, frame-id {}, {got}", ids.0, ids.1);
                    return Err(Stop::failed(expected, got));
                }
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Asks once more, to see that the connection is as good as ever.
    pub(super) async fn asks(&mut self, ids: Ids, payload: &[u8]) -> Verdict<Answer> {
        self.send(&super::wire::notify(ids, payload)).await?;
        self.ack(ids).await
    }

    /// AGENT-DISCONNECT comes, after whatever ACKs were ready, and then the end.
    pub(super) async fn goodbye(&mut self) -> Verdict<Disconnect> {
        self.goodbye_as("AGENT-DISCONNECT and the end of the connection")
            .await
    }

    /// AGENT-DISCONNECT with `status` comes, after whatever ACKs were ready, and then the end.
    pub(super) async fn refused(&mut self, status: Status) -> Verdict {
        let expected = format!("AGENT-DISCONNECT with status {status} and the end");
        let bye = self.goodbye_as(&expected).await?;
        if bye.status != status {
            let got = format!("AGENT-DISCONNECT with status {}", bye.status);
            return Err(Stop::failed(expected, got));
        }
        Ok(())
    }

    /// The ACK for `ids` comes, or a goodbye with a reason.
    pub(super) async fn ack_or_goodbye(&mut self, ids: Ids) -> Verdict {
        let expected = "an ACK, or AGENT-DISCONNECT with a reason";
        let (raw, frame) = self.frame(expected).await?;
        match frame {
            Frame::Ack(ack) if (ack.stream_id(), ack.frame_id()) == ids => Ok(()),
            Frame::AgentDisconnect(bye) if bye.status != Status::NORMAL => {
                self.after_goodbye(expected, &bye).await
            }
            other => Err(Stop::failed(expected, told(&raw, &other))),
        }
    }

    /// Nothing comes for `time`, not even the end.
    pub(super) async fn silent(&mut self, time: Duration, expected: &str) -> Verdict {
        match self.frame_within(time, expected).await? {
            None => Ok(()),
            Some((raw, frame)) => Err(Stop::failed(expected, told(&raw, &frame))),
        }
    }

    /// No byte comes for `time`, but the end may.
    pub(super) async fn end_or_silence(&mut self, time: Duration, expected: &str) -> Verdict {
        match timeout(time, self.trailing()).await {
            Err(_) | Ok(0) => Ok(()),
            Ok(bytes) => Err(Stop::failed(expected, format!("{bytes} bytes more"))),
        }
    }

    /// Whatever frame comes next, if one does within `time`.
    pub(super) async fn frame_within(
        &mut self,
        time: Duration,
        expected: &str,
    ) -> Verdict<Option<(RawFrame, Frame)>> {
        timeout(time, self.frame(expected)).await.ok().transpose()
    }

    /// Whatever comes, the connection ends within `time`.
    pub(super) async fn ended(self, time: Duration, expected: &str) -> Verdict {
        read_to_the_end(self.io, time, expected).await
    }

    /// Closes our side, with FIN. Whatever comes, the agent closes the other one.
    pub(super) async fn finish(mut self, time: Duration) -> Verdict {
        // An agent that reset the connection already has closed it.
        self.io.shutdown().await.ok();
        let expected = "the agent to close the connection, since HAProxy did";
        read_to_the_end(self.io, time, expected).await
    }

    /// Closes as HAProxy does, with RST.
    pub(super) fn reset(self) {
        self.io.reset();
    }

    async fn next_ack(&mut self, expected: &str) -> Verdict<Answer> {
        loop {
            let (raw, frame) = self.frame(expected).await?;
            match frame {
                Frame::Ack(ack) => {
                    let RawFrame {
                        header, payload, ..
                    } = raw;
                    return Ok(Answer {
                        ack,
                        header,
                        payload,
                    });
                }
                Frame::Unknown(_) => {}
                other => return Err(Stop::failed(expected, told(&raw, &other))),
            }
        }
    }

    async fn goodbye_as(&mut self, expected: &str) -> Verdict<Disconnect> {
        let mut acks = 0_usize;
        loop {
            match self.frame(expected).await {
                Ok((_, Frame::Ack(_))) => acks += 1,
                Ok((_, Frame::Unknown(_))) => {}
                Ok((_, Frame::AgentDisconnect(bye))) => {
                    self.after_goodbye(expected, &bye).await?;
                    return Ok(bye);
                }
                Ok((raw, other)) => return Err(Stop::failed(expected, told(&raw, &other))),
                Err(Stop::Failed { expected, got }) if acks > 0 => {
                    let acks = if acks == 1 { "an ACK" } else { "ACKs" };
                    let got = format!("{acks}, then {got}");
                    return Err(Stop::Failed { expected, got });
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Whether HAProxy can take the goodbye, and nothing follows it.
    async fn after_goodbye(&mut self, expected: &str, bye: &Disconnect) -> Verdict {
        if bye.status.0 > MAX_STATUS {
            let expected = format!("{expected}, with a status from 0 to {MAX_STATUS}");
            return Err(Stop::failed(expected, bye.status));
        }
        if bye.message.len() > MAX_MESSAGE {
            let expected = format!("{expected}, with a message of {MAX_MESSAGE} bytes at most");
            return Err(Stop::failed(expected, bye.message.len()));
        }
        match timeout(self.timeout, self.trailing()).await {
            Ok(0) => Ok(()),
            Ok(bytes) => Err(Stop::failed(
                expected,
                format!("{bytes} bytes more after it"),
            )),
            Err(_) => {
                let got = "it, but the connection stays open";
                Err(Stop::failed(expected, got))
            }
        }
    }

    /// Any frame comes next.
    pub(super) async fn frame(&mut self, expected: &str) -> Verdict<(RawFrame, Frame)> {
        let got = match timeout(self.timeout, self.next_frame()).await {
            Ok(Ok(frame)) => return Ok(frame),
            Ok(Err(ClientError::Io(error))) if error.kind() == ErrorKind::ConnectionReset => {
                "the agent reset the connection".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing for {:?}", self.timeout),
        };
        Err(Stop::failed(expected, got))
    }

    async fn next_frame(&mut self) -> Result<(RawFrame, Frame), ClientError> {
        loop {
            if let Some(raw) = self.decoder.next(&mut self.input)? {
                return Ok((raw.clone(), Frame::decode(raw)?));
            }
            if self.fill().await? == 0 {
                return Err(match self.input.len() {
                    0 => ClientError::Closed,
                    bytes => ClientError::Truncated { bytes },
                });
            }
        }
    }

    /// Waits for the end. How many bytes come instead.
    async fn trailing(&mut self) -> usize {
        // A reset counts as an end: behind the last frame nothing can be lost.
        if self.input.is_empty() && self.fill().await.is_err() {
            return 0;
        }
        self.input.len()
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.input.reserve(READ_SIZE);
        self.io.read_buf(&mut self.input).await
    }
}

/// Reads and drops until the other side closed, in either way.
async fn read_to_the_end(mut io: Stream, time: Duration, expected: &str) -> Verdict {
    let mut discarded = vec![0; 4096];
    let end = async { while matches!(io.read(&mut discarded).await, Ok(1..)) {} };
    let end = timeout(time, end).await;
    end.map_err(|_| Stop::failed(expected, format!("it stays open for {time:?}")))
}

/// What a frame is, in a few words.
pub(super) fn told(raw: &RawFrame, frame: &Frame) -> String {
    match frame {
        Frame::AgentDisconnect(bye) => format!("AGENT-DISCONNECT with status {}", bye.status),
        Frame::Ack(ack) => {
            let (stream_id, frame_id) = (ack.stream_id(), ack.frame_id());
            format!("an ACK for stream-id {stream_id}, frame-id {frame_id}")
        }
        _ => format!("a frame of type {}", raw.header.frame_type),
    }
}
