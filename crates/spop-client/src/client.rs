//! A connection to an agent after the handshake, used as HAProxy uses one.

use std::time::Duration;

use spop_codec::{
    Ack, AgentHello, DecodeError, Disconnect, Frame, HaproxyHello, MIN_FRAME_SIZE, Negotiated,
    Notify, NotifyBuilder, Status, TypedData,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::connection::{Connection, DEFAULT_TIMEOUT, within};
use crate::error::ClientError;
use crate::hello::haproxy_hello;

/// HAProxy's end of a connection on which the HELLO frames were exchanged.
///
/// One question at a time:
///
/// ```no_run
/// # async fn example() -> Result<(), spop_client::ClientError> {
/// let mut client = spop_client::Client::connect("127.0.0.1:9000").await?;
/// let ack = client.notify("check-rate", [("ip_src", "192.0.2.7".into())]).await?;
/// assert_eq!(ack.actions().count(), 1);
/// # Ok(())
/// # }
/// ```
///
/// Many in flight, written at once, answered in any order:
///
/// ```no_run
/// use spop_client::spop_codec::NotifyBuilder;
///
/// # async fn example() -> Result<(), spop_client::ClientError> {
/// let mut client = spop_client::Client::connect("127.0.0.1:9000").await?;
/// for _ in 0..20 {
///     let stream_id = client.next_stream_id();
///     client.queue(&NotifyBuilder::new().message("check-rate", [])?.build(stream_id, 1))?;
/// }
/// client.flush().await?;
/// for _ in 0..20 {
///     println!("answered: {}", client.recv_ack().await?.stream_id());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client<S> {
    connection: Connection<S>,
    agent_hello: AgentHello,
    negotiated: Negotiated,
    next_stream_id: u64,
}

impl Client<TcpStream> {
    /// Connects over TCP, with TCP_NODELAY, and shakes hands like HAProxy 3.1 and later
    /// ([`haproxy_hello`]). Waits end after [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::Connect`] and those of [`over`](Self::over).
    pub async fn connect(addr: impl ToSocketAddrs) -> Result<Self, ClientError> {
        let connection = Connection::connect(addr, Some(DEFAULT_TIMEOUT)).await?;
        Self::over(connection, haproxy_hello()).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Shakes hands over a stream that is connected already, opening with `hello`. Waits end
    /// after [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// As [`over`](Self::over).
    pub async fn handshake(io: S, hello: HaproxyHello) -> Result<Self, ClientError> {
        Self::over(Connection::new(io), hello).await
    }

    /// Shakes hands over a fresh connection, opening with `hello`. The connection's timeout
    /// stays in force.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`] if the agent refuses; [`ClientError::Refused`] if HAProxy
    /// would refuse the AGENT-HELLO, after a HAPROXY-DISCONNECT with that status;
    /// [`ClientError::Timeout`]; else as [`Connection::recv`].
    pub async fn over(
        mut connection: Connection<S>,
        hello: HaproxyHello,
    ) -> Result<Self, ClientError> {
        if let Some(announced) = hello.max_frame_size {
            // A HELLO that announces too little is to be told so.
            let announced = u32::try_from(announced).unwrap_or(u32::MAX);
            connection.set_limit(announced.max(MIN_FRAME_SIZE));
        }
        connection.queue(&Frame::HaproxyHello(hello.clone()));
        let (frame_type, frame) = within(connection.timeout(), "AGENT-HELLO", async {
            connection.write().await?;
            connection.read().await
        })
        .await?;
        let agent_hello = match frame {
            Frame::AgentHello(hello) => hello,
            Frame::AgentDisconnect(bye) => return Err(ClientError::Disconnected(bye)),
            _ => return Err(DecodeError::Unexpected { frame_type }.into()),
        };
        let negotiated = match agent_hello.check(&hello) {
            Ok(negotiated) => negotiated,
            Err(status) => {
                let bye = Frame::HaproxyDisconnect(Disconnect::new(status));
                // Whether the agent still hears it changes nothing.
                connection.send(&bye).await.ok();
                return Err(ClientError::Refused(status));
            }
        };
        connection.set_limit(negotiated.max_frame_size);
        Ok(Self {
            connection,
            agent_hello,
            negotiated,
            next_stream_id: 1,
        })
    }

    /// What the agent announced.
    pub const fn agent_hello(&self) -> &AgentHello {
        &self.agent_hello
    }

    /// What both sides agreed on. A frame of the agent beyond its max-frame-size is an error.
    pub const fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// Changes how long each wait may take. `None`: as long as it takes.
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.connection.set_timeout(timeout);
    }

    /// A stream-id that was not used on this connection: 1, 3, 5, …, as HAProxy 3.1 and
    /// later count.
    pub const fn next_stream_id(&mut self) -> u64 {
        let stream_id = self.next_stream_id;
        self.next_stream_id = stream_id.wrapping_add(2);
        stream_id
    }

    /// Sends a NOTIFY with one message, under the next stream-id and frame-id 1, and waits
    /// for its ACK. An argument may have an empty name, and names may repeat.
    ///
    /// # Errors
    /// [`ClientError::TooManyArgs`] beyond 255 arguments, and those of
    /// [`exchange`](Self::exchange).
    pub async fn notify<'a>(
        &mut self,
        message: &str,
        args: impl IntoIterator<Item = (&'a str, TypedData<'a>)>,
    ) -> Result<Ack, ClientError> {
        let notify = NotifyBuilder::new().message(message, args)?;
        let notify = notify.build(self.next_stream_id(), 1);
        self.exchange(&notify).await
    }

    /// Sends `notify`, behind what is queued, and waits for its ACK.
    ///
    /// An ACK for a lower stream-id that comes first is dropped, as HAProxy drops the answers
    /// that come too late: with others in flight, use [`recv_ack`](Self::recv_ack).
    ///
    /// # Errors
    /// [`ClientError::TooBig`] before anything is sent; [`ClientError::UnexpectedAck`] for an
    /// ACK with ids that were not asked; [`ClientError::Timeout`]; else as
    /// [`recv`](Self::recv).
    pub async fn exchange(&mut self, notify: &Notify) -> Result<Ack, ClientError> {
        self.queue(notify)?;
        within(self.connection.timeout(), "ACK", async {
            self.write().await?;
            loop {
                let ack = self.read_ack().await?;
                let (stream_id, frame_id) = (ack.stream_id(), ack.frame_id());
                if (stream_id, frame_id) == (notify.stream_id(), notify.frame_id()) {
                    return Ok(ack);
                }
                if stream_id >= notify.stream_id() {
                    return Err(ClientError::UnexpectedAck {
                        stream_id,
                        frame_id,
                    });
                }
            }
        })
        .await
    }

    /// Adds a NOTIFY, with any ids, to those that the next [`flush`](Self::flush) writes.
    ///
    /// # Errors
    /// [`ClientError::TooBig`] beyond the max-frame-size agreed on, as HAProxy does not send
    /// it then; [`send_raw`](Self::send_raw) does.
    pub fn queue(&mut self, notify: &Notify) -> Result<(), ClientError> {
        self.connection
            .queue_within(self.negotiated.max_frame_size, notify)
    }

    /// Writes what is queued, in one write if the stream takes it: see [`Connection::flush`].
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.connection.flush().await
    }

    /// [`queue`](Self::queue) and [`flush`](Self::flush).
    ///
    /// # Errors
    /// As those two.
    pub async fn send(&mut self, notify: &Notify) -> Result<(), ClientError> {
        self.queue(notify)?;
        self.flush().await
    }

    /// Writes what is queued and `bytes` behind it: for what HAProxy never sends.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.connection.send_raw(bytes).await
    }

    /// Waits for the next frame, of whatever kind but AGENT-DISCONNECT, after writing what is
    /// queued.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`] for an AGENT-DISCONNECT; else as [`Connection::recv`].
    pub async fn recv(&mut self) -> Result<Frame, ClientError> {
        within(self.connection.timeout(), "frame", async {
            self.write().await?;
            match self.connection.read().await? {
                (_, Frame::AgentDisconnect(bye)) => Err(ClientError::Disconnected(bye)),
                (_, frame) => Ok(frame),
            }
        })
        .await
    }

    /// Waits for the next ACK, whichever question it answers, after writing what is queued.
    /// Frames of types that nobody assigned are skipped, as HAProxy does.
    ///
    /// # Errors
    /// [`ClientError::Decode`] for a frame of another kind; else as [`recv`](Self::recv).
    pub async fn recv_ack(&mut self) -> Result<Ack, ClientError> {
        within(self.connection.timeout(), "ACK", async {
            self.write().await?;
            self.read_ack().await
        })
        .await
    }

    /// Says HAPROXY-DISCONNECT and waits for the AGENT-DISCONNECT, which it returns. ACKs that
    /// come first are dropped: what was in flight is void.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if the agent closes without one; [`ClientError::Timeout`]; else
    /// as [`Connection::recv`].
    pub async fn disconnect(&mut self, status: Status) -> Result<Disconnect, ClientError> {
        let bye = Frame::HaproxyDisconnect(Disconnect::new(status));
        self.connection.queue(&bye);
        within(self.connection.timeout(), "AGENT-DISCONNECT", async {
            self.connection.write().await?;
            loop {
                match self.connection.read().await? {
                    (_, Frame::AgentDisconnect(bye)) => return Ok(bye),
                    (_, Frame::Ack(_) | Frame::Unknown(_)) => {}
                    (frame_type, _) => return Err(DecodeError::Unexpected { frame_type }.into()),
                }
            }
        })
        .await
    }

    /// Waits until the agent has closed the connection, in either way, without another byte.
    ///
    /// # Errors
    /// As [`Connection::closed`].
    pub async fn closed(&mut self) -> Result<(), ClientError> {
        self.connection.closed().await
    }

    /// The connection, for what the protocol forbids.
    pub fn into_connection(self) -> Connection<S> {
        self.connection
    }

    /// Writes what is queued. If the agent hung up, what it said last explains more than the
    /// failed write does.
    async fn write(&mut self) -> Result<(), ClientError> {
        let Err(error) = self.connection.write().await else {
            return Ok(());
        };
        loop {
            match self.connection.read().await {
                Ok((_, Frame::AgentDisconnect(bye))) => return Err(ClientError::Disconnected(bye)),
                Ok(_) => {}
                Err(_) => return Err(error),
            }
        }
    }

    async fn read_ack(&mut self) -> Result<Ack, ClientError> {
        loop {
            match self.connection.read().await? {
                (_, Frame::Ack(ack)) => return Ok(ack),
                (_, Frame::AgentDisconnect(bye)) => return Err(ClientError::Disconnected(bye)),
                (_, Frame::Unknown(_)) => {}
                (frame_type, _) => return Err(DecodeError::Unexpected { frame_type }.into()),
            }
        }
    }
}
