//! Where connections come from: TCP, Unix sockets, sockets that systemd passes, TLS over any.

mod activation;
mod bound;
mod endpoint;
mod error;
#[cfg(feature = "tls")]
pub mod tls;
mod unix;

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub use activation::{claim_inherited, inherited};
pub use bound::BoundListener;
pub use endpoint::{Endpoint, EndpointError};
pub use error::ListenError;
pub use unix::UnixListener;

use crate::peer::Peer;

/// What the kernel takes for the waits of keepalive, in seconds.
const KEEPALIVE_SECONDS: (u64, u64) = (1, 32_767);
/// Questions without an answer until a peer counts as gone.
const KEEPALIVE_PROBES: u32 = 4;

/// Gives [`serve`](crate::serve()) its connections.
///
/// A listener of one's own filters or wraps what another accepts:
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use spop_server::{Listener, Peer};
/// use tokio::net::{TcpListener, TcpStream};
///
/// /// Takes connections from this machine only.
/// struct FromHere(TcpListener);
///
/// impl Listener for FromHere {
///     type Io = TcpStream;
///
///     async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
///         loop {
///             let (stream, address) = self.0.accept().await?;
///             if address.ip().is_loopback() {
///                 return Ok((stream, address.into()));
///             }
///         }
///     }
///
///     fn tune(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
///         TcpListener::tune(stream, keepalive)
///     }
/// }
/// ```
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// Must be cancel safe: when the future is dropped, no connection may be lost. It must
    /// not wait for what the peer sends either, or one slow peer keeps all others out: a
    /// handshake belongs into the first read of [`Io`](Self::Io).
    ///
    /// # Errors
    /// Any: the server logs it, pauses, and asks again.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;

    /// Sets what the server wants of the socket below: TCP_NODELAY, and keepalive after this
    /// much silence ([`Config::with_keepalive`](crate::Config::with_keepalive)). Does nothing
    /// by default, which suits all but TCP.
    ///
    /// # Errors
    /// When the system refuses; the connection is served all the same.
    fn tune(_io: &Self::Io, _keepalive: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        Ok((stream, Peer::Tcp(address)))
    }

    fn tune(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
        // Without it an answer waits for the kernel's acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let Some(idle) = keepalive else {
            return Ok(());
        };
        let (shortest, longest) = KEEPALIVE_SECONDS;
        let seconds = |wait: u64| Duration::from_secs(wait.clamp(shortest, longest));
        let settings = TcpKeepalive::new()
            .with_time(seconds(idle.as_secs()))
            .with_interval(seconds(idle.as_secs() / 2))
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(stream).set_tcp_keepalive(&settings)
    }
}
