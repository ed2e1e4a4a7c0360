//! The agent under test: where it listens, what to ask it, and how long to wait.

#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spop_codec::{
    AgentHello, Capabilities, Frame, FrameDecoder, HaproxyHello, NotifyBuilder, TooManyArgs,
    TypedData,
};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::probe::Probe;
use super::stream::Stream;
use super::wire::Hello;
use super::{Stop, Verdict};
use crate::connection::within;
use crate::error::ClientError;

/// A message that no agent knows: an ACK without actions is the right answer to it.
const UNKNOWN: &str = "spop-conform-asks";

/// How long a wait may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(2);

/// An agent to try cases on.
#[derive(Debug, Clone)]
pub struct Agent {
    target: Target,
    name: String,
    question: Bytes,
    known: bool,
    timeout: Duration,
    patience: Option<Duration>,
}

#[derive(Debug, Clone)]
enum Target {
    Tcp(String),
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Agent {
    /// An agent that listens on TCP, at `HOST:PORT`.
    pub fn tcp(addr: impl ToString) -> Self {
        Self::at(Target::Tcp(addr.to_string()))
    }

    /// An agent that listens on a Unix socket.
    #[cfg(unix)]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Target::Unix(path.into()))
    }

    /// Asks with a message that the agent knows, so that its answers have actions to look at.
    /// Without this, the message is one that it does not know. The agent will see the message
    /// a few thousand times, with other arguments as well.
    ///
    /// # Errors
    /// [`TooManyArgs`] beyond 255.
    pub fn with_message<'a>(
        self,
        name: &str,
        args: impl IntoIterator<Item = (&'a str, TypedData<'a>)>,
    ) -> Result<Self, TooManyArgs> {
        Ok(Self {
            question: encoded(NotifyBuilder::new().message(name, args)?),
            name: name.to_owned(),
            known: true,
            ..self
        })
    }

    /// Sets how long each wait may take: to connect, for each frame, for the end of a
    /// connection. Default 2 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the slow cases too, each of which gives the agent this long to lose its patience
    /// with a silent peer. Without this, they are skipped.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    fn at(target: Target) -> Self {
        let args = [
            ("ip", TypedData::Ipv4([192, 0, 2, 1].into())),
            ("text", "conform".into()),
            ("number", TypedData::Int64(1)),
            ("nothing", TypedData::Null),
        ];
        let question = NotifyBuilder::new().message(UNKNOWN, args);
        Self {
            target,
            name: UNKNOWN.to_owned(),
            question: encoded(question.unwrap_or_default()),
            known: false,
            timeout: TIMEOUT,
            patience: None,
        }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) const fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// The name of the message to ask with.
    pub(super) const fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The payload of a NOTIFY with that message and its usual arguments.
    pub(super) fn question(&self) -> &[u8] {
        &self.question
    }

    /// Whether the agent is said to know the message.
    pub(super) const fn knows_the_message(&self) -> bool {
        self.known
    }

    /// A fresh connection.
    pub(super) async fn open(&self) -> Result<Stream, ClientError> {
        within(Some(self.timeout), "connection", async {
            match &self.target {
                Target::Tcp(addr) => {
                    let io = TcpStream::connect(addr.as_str()).await;
                    let io = io.map_err(ClientError::Connect)?;
                    io.set_nodelay(true).map_err(ClientError::Connect)?;
                    Ok(Stream::Tcp(io))
                }
                #[cfg(unix)]
                Target::Unix(path) => {
                    let io = UnixStream::connect(path).await;
                    Ok(Stream::Unix(io.map_err(ClientError::Connect)?))
                }
            }
        })
        .await
    }

    /// A fresh connection on which nothing was said yet.
    pub(super) async fn connect(&self) -> Verdict<Probe> {
        match self.open().await {
            Ok(io) => Ok(Probe::new(io, self.timeout)),
            Err(error) => Err(Stop::failed("a connection", error)),
        }
    }

    /// A fresh connection after the usual handshake.
    pub(super) async fn greet(&self) -> Verdict<Probe> {
        let (probe, _) = self.greet_with(&Hello::new()).await?;
        Ok(probe)
    }

    /// A fresh connection after a handshake that began with `hello`, and what the agent
    /// answered. The answer is one that every version of HAProxy accepts.
    pub(super) async fn greet_with(&self, hello: &Hello) -> Verdict<(Probe, AgentHello)> {
        let mut probe = self.connect().await?;
        let sent = hello.frame();
        probe.send(&sent).await?;
        let answer = probe.agent_hello().await?;
        judge(&sent, &answer)?;
        Ok((probe, answer))
    }

    /// A fresh connection on which pipelining was agreed on; skips the case without.
    pub(super) async fn greet_pipelining(&self) -> Verdict<Probe> {
        let (probe, answer) = self.greet_with(&Hello::new()).await?;
        if announces(&answer, Capabilities::PIPELINING) {
            Ok(probe)
        } else {
            Err(Stop::skipped("the agent does not announce pipelining"))
        }
    }
}

/// Whether the agent announces `capability`.
pub(super) fn announces(hello: &AgentHello, capability: Capabilities) -> bool {
    hello.capabilities.unwrap_or_default().contains(capability)
}

/// Whether HAProxy, having sent `sent`, accepts `answer`.
pub(super) fn judge(sent: &[u8], answer: &AgentHello) -> Verdict {
    let Some(ours) = haproxy_hello(sent) else {
        return Ok(()); // never: only HELLO frames that are sound are judged upon
    };
    answer.check(&ours).map(drop).map_err(|status| {
        let got = format!("one that it refuses with status {status}: {answer:?}");
        Stop::failed("an AGENT-HELLO that HAProxy accepts", got)
    })
}

fn haproxy_hello(frame: &[u8]) -> Option<HaproxyHello> {
    let mut input = BytesMut::from(frame);
    let raw = FrameDecoder::new(u32::MAX).next(&mut input).ok()??;
    match Frame::decode(raw) {
        Ok(Frame::HaproxyHello(hello)) => Some(hello),
        _ => None,
    }
}

fn encoded(question: NotifyBuilder) -> Bytes {
    let notify = question.build(0, 0);
    let message = notify.messages().next();
    message.map_or_else(Bytes::new, |message| notify.share(&message))
}
