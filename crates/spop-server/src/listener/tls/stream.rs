//! A connection that shakes hands when it is first used.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::{self, InvalidMessage};
use tokio_rustls::{Accept, server};

/// A TLS connection. Whatever is asked of it first waits for the handshake.
///
/// A peer that closes without close_notify has closed: SPOP's frames tell their length, so
/// nothing can be cut off unnoticed.
pub struct TlsStream<IO> {
    state: State<IO>,
}

enum State<IO> {
    Handshake(Box<Accept<IO>>),
    Open(Box<server::TlsStream<IO>>),
    /// The handshake failed, or the peer left before it was done.
    Closed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    pub(super) fn new(handshake: Accept<IO>) -> Self {
        Self {
            state: State::Handshake(Box::new(handshake)),
        }
    }

    /// The connection below, unless the handshake failed.
    pub fn get_ref(&self) -> Option<&IO> {
        match &self.state {
            State::Handshake(handshake) => handshake.get_ref(),
            State::Open(stream) => Some(stream.get_ref().0),
            State::Closed => None,
        }
    }

    /// The stream, once the handshake is done; `None` if it never will be.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Pin<&mut server::TlsStream<IO>>>>> {
        if let State::Handshake(handshake) = &mut self.state {
            match ready!(Pin::new(handshake).poll(cx)) {
                Ok(stream) => self.state = State::Open(Box::new(stream)),
                Err(error) => {
                    self.state = State::Closed;
                    // Health checks that only connect end so.
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        return Poll::Ready(Err(explained(error)));
                    }
                }
            }
        }
        Poll::Ready(Ok(match &mut self.state {
            State::Open(stream) => Some(Pin::new(stream)),
            _ => None,
        }))
    }
}

/// Says that it was the handshake, as only the peer's address is logged beside it.
fn explained(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let hint = match cause {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            " (is `ssl` missing on HAProxy's server line?)"
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            " (is `crt` missing on HAProxy's server line?)"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("TLS handshake: {error}{hint}"))
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut stream) = ready!(self.get_mut().poll_open(cx))? else {
            return Poll::Ready(Ok(()));
        };
        // What an earlier write left behind goes on as soon as there is room, even if
        // nobody writes again.
        if stream.get_ref().1.wants_write()
            && let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        match ready!(stream.poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(mut stream) = ready!(self.get_mut().poll_open(cx))? else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // One write at a time is encrypted and waits: a peer that does not read stops the
        // writer, instead of filling a buffer here.
        ready!(stream.as_mut().poll_flush(cx))?;
        stream.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Open(stream) => Pin::new(stream).poll_flush(cx),
            // The handshake flushes what it writes.
            State::Handshake(_) | State::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Handshake(handshake) => match handshake.get_mut() {
                Some(io) => Pin::new(io).poll_shutdown(cx),
                None => Poll::Ready(Ok(())),
            },
            State::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Handshake(_) => "TlsStream(handshake)",
            State::Open(_) => "TlsStream(open)",
            State::Closed => "TlsStream(closed)",
        })
    }
}
