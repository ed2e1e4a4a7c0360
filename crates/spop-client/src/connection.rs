//! Frames over a stream, with a timeout on every wait. Knows frames, not what may follow
//! which.

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use spop_codec::{Frame, FrameDecoder, FrameType, Notify, RawFrame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::error::ClientError;
use crate::hello::MAX_FRAME_SIZE;

/// How long a wait may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes asked for in one read.
const READ_SIZE: usize = 8192;

/// Bytes of the length field in front of each frame, which it does not count.
const LENGTH_FIELD: usize = 4;

/// A stream to an agent that frames are written to and read from.
///
/// It holds no state of the protocol: any frame, and with [`send_raw`](Self::send_raw) any
/// bytes, may be sent at any time. [`Client`](crate::Client) is the one that behaves.
///
/// ```no_run
/// use spop_client::{Connection, DEFAULT_TIMEOUT};
/// use spop_client::spop_codec::{Frame, Status};
///
/// # async fn example() -> Result<(), spop_client::ClientError> {
/// let mut connection = Connection::connect("127.0.0.1:9000", Some(DEFAULT_TIMEOUT)).await?;
/// connection.send_raw(&[0, 0, 0, 0]).await?; // shorter than any frame
/// let Frame::AgentDisconnect(bye) = connection.recv().await? else { panic!() };
/// assert_eq!(bye.status, Status::INVALID_FRAME);
/// connection.closed().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection<S> {
    io: S,
    decoder: FrameDecoder,
    input: BytesMut,
    output: BytesMut,
    timeout: Option<Duration>,
}

impl Connection<TcpStream> {
    /// Connects over TCP, with TCP_NODELAY, and keeps `timeout` for every later wait.
    ///
    /// # Errors
    /// [`ClientError::Connect`]; [`ClientError::Timeout`] after `timeout`.
    pub async fn connect(
        addr: impl ToSocketAddrs,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let connect = async {
            let io = TcpStream::connect(addr).await?;
            io.set_nodelay(true)?;
            Ok(io)
        };
        Self::open(connect, timeout).await
    }
}

#[cfg(unix)]
impl Connection<tokio::net::UnixStream> {
    /// Connects to a Unix socket, and keeps `timeout` for every later wait.
    ///
    /// # Errors
    /// [`ClientError::Connect`]; [`ClientError::Timeout`] after `timeout`.
    pub async fn connect_unix(
        path: impl AsRef<std::path::Path>,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        Self::open(tokio::net::UnixStream::connect(path), timeout).await
    }
}

impl<S> Connection<S> {
    /// Takes a stream that is connected already. Frames of up to [`MAX_FRAME_SIZE`] bytes
    /// are accepted, and waits end after [`DEFAULT_TIMEOUT`].
    pub fn new(io: S) -> Self {
        Self {
            io,
            decoder: FrameDecoder::new(MAX_FRAME_SIZE),
            input: BytesMut::new(),
            output: BytesMut::new(),
            timeout: Some(DEFAULT_TIMEOUT),
        }
    }

    /// Sets how long each wait may take. `None`: as long as it takes.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long each wait may take.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Changes how long each wait may take. `None`: as long as it takes.
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Changes the largest frame that is accepted, in bytes, its length field not counted.
    pub const fn set_limit(&mut self, bytes: u32) {
        self.decoder.set_limit(bytes);
    }

    /// Adds a frame to those that the next [`flush`](Self::flush) writes.
    pub fn queue(&mut self, frame: &Frame) {
        frame.encode(&mut self.output);
    }

    /// Adds a NOTIFY to those that the next [`flush`](Self::flush) writes, unless its length
    /// field exceeds `limit`.
    pub(crate) fn queue_within(&mut self, limit: u32, notify: &Notify) -> Result<(), ClientError> {
        let start = self.output.len();
        notify.encode(&mut self.output);
        let length = self.output.len() - start - LENGTH_FIELD;
        if length > limit as usize {
            self.output.truncate(start);
            return Err(ClientError::TooBig { length, limit });
        }
        Ok(())
    }

    /// The stream. What was read ahead or queued is lost.
    pub fn into_inner(self) -> S {
        self.io
    }

    async fn open(
        connect: impl Future<Output = std::io::Result<S>>,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let connect = async { connect.await.map_err(ClientError::Connect) };
        let io = within(timeout, "connection", connect).await?;
        Ok(Self::new(io).with_timeout(timeout))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes what is queued, in one write if the stream takes it.
    ///
    /// Nothing is read meanwhile: an agent that waits for its answers to be read does not
    /// take more, so keep what is in flight within a few hundred frames.
    ///
    /// # Errors
    /// [`ClientError::Io`]; [`ClientError::Timeout`], after which a second call goes on.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        within(self.timeout, "room to write", self.write()).await
    }

    /// Writes what is queued and `frame` behind it, in one write if the stream takes it.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        self.queue(frame);
        self.flush().await
    }

    /// Writes what is queued and `bytes` behind it, in one write if the stream takes it:
    /// for pieces of frames and for what is no frame at all.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.output.extend_from_slice(bytes);
        self.flush().await
    }

    /// Waits for the next frame, of whatever kind, after writing what is queued.
    ///
    /// Loses nothing when it is dropped before it is done.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Truncated`], [`ClientError::Io`] at the end of
    /// the connection; [`ClientError::Decode`]; [`ClientError::Timeout`], after which a
    /// second call goes on waiting.
    pub async fn recv(&mut self) -> Result<Frame, ClientError> {
        Ok(Frame::decode(self.recv_raw().await?)?)
    }

    /// As [`recv`](Self::recv), but of the frame only the header is checked.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_raw(&mut self) -> Result<RawFrame, ClientError> {
        within(self.timeout, "frame", async {
            let written = self.write().await;
            match self.read_raw().await {
                Ok(frame) => Ok(frame),
                // What the agent said before it hung up explains more than the failed write;
                // if it said nothing, the failed write is what happened first.
                Err(error) => written.and(Err(error)),
            }
        })
        .await
    }

    /// Waits until the agent has closed the connection, in either way, without another byte.
    ///
    /// # Errors
    /// [`ClientError::Trailing`] if a byte comes; [`ClientError::Timeout`] if nothing
    /// happens.
    pub async fn closed(&mut self) -> Result<(), ClientError> {
        within(self.timeout, "close by the agent", async {
            // A reset counts as a close: after the last frame nothing can be lost.
            if self.input.is_empty() && matches!(self.fill().await, Ok(0) | Err(_)) {
                return Ok(());
            }
            let bytes = self.input.len();
            Err(ClientError::Trailing { bytes })
        })
        .await
    }

    /// [`flush`](Self::flush) without a timeout.
    pub(crate) async fn write(&mut self) -> Result<(), ClientError> {
        self.io.write_all_buf(&mut self.output).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// The next frame and its type, without a timeout.
    pub(crate) async fn read(&mut self) -> Result<(FrameType, Frame), ClientError> {
        let raw = self.read_raw().await?;
        Ok((raw.header.frame_type, Frame::decode(raw)?))
    }

    /// The next frame, without a timeout.
    pub(crate) async fn read_raw(&mut self) -> Result<RawFrame, ClientError> {
        loop {
            if let Some(raw) = self.decoder.next(&mut self.input)? {
                return Ok(raw);
            }
            if self.fill().await? == 0 {
                return Err(match self.input.len() {
                    0 => ClientError::Closed,
                    bytes => ClientError::Truncated { bytes },
                });
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.input.reserve(READ_SIZE);
        self.io.read_buf(&mut self.input).await
    }
}

/// Gives up on `wait` after `timeout`.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    waiting_for: &'static str,
    wait: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let Some(after) = timeout else {
        return wait.await;
    };
    match tokio::time::timeout(after, wait).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Timeout { waiting_for, after }),
    }
}
