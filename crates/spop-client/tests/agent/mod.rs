//! Two agents for the tests: a sound one, the codec's state machine on a tokio stream, and
//! one that reads what a script expects and writes what it says.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by the tests of this directory"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{Actions, AgentConfig, AgentConnection, Event, Frame, Notify, RawFrame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

/// Answers connections on a free loopback port until the test's runtime ends.
pub(crate) async fn listen(answer: fn(&Notify) -> Actions) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(serve(io, AgentConfig::new(), answer));
        }
    });
    addr
}

/// An address where connections are refused, for as long as the socket is kept.
pub(crate) fn nobody() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Serves one connection to its end. Answers what came in one read in the reverse order.
pub(crate) async fn serve<S>(mut io: S, config: AgentConfig, answer: fn(&Notify) -> Actions)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // These tests do not test the agent's timeouts.
    let now = Duration::ZERO;
    let mut agent = AgentConnection::new(config, now);
    // What came in one write is to be read in one read.
    let mut input = BytesMut::with_capacity(65_536);
    loop {
        let mut asked = Vec::new();
        while let Some(event) = agent.poll_event(now, &mut input) {
            if let Event::Notify(ticket, notify) = event {
                asked.push((ticket, notify));
            }
        }
        let pending = !asked.is_empty();
        for (ticket, notify) in asked.into_iter().rev() {
            agent.ack(ticket, &answer(&notify));
        }
        if io.write_all_buf(agent.transmit()).await.is_err() || agent.is_closed() {
            return;
        }
        if !pending && !matches!(io.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

/// The other end of a stream in memory whose agent does what `script` says.
pub(crate) fn scripted<F>(script: impl FnOnce(Script) -> F) -> DuplexStream
where
    F: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(65_536);
    let input = BytesMut::new();
    tokio::spawn(script(Script { io: theirs, input }));
    ours
}

/// The agent's end, by hand.
pub(crate) struct Script {
    pub(crate) io: DuplexStream,
    input: BytesMut,
}

impl Script {
    /// The next frame of the client, or `None` at the end.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        let decoder = spop_codec::FrameDecoder::new(65_536);
        loop {
            let raw: Option<RawFrame> = decoder.clone().next(&mut self.input).unwrap();
            if let Some(raw) = raw {
                return Some(Frame::decode(raw).unwrap());
            }
            if self.io.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// Writes `frames` in one write.
    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.io.write_all(&encoded(frames)).await.unwrap();
    }
}

/// The frames on the wire, one behind the other.
pub(crate) fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode(&mut out);
    }
    out.to_vec()
}
