//! TLS over any listener, with rustls; needs the feature `tls`.
//!
//! In HAProxy, with a certificate of its own:
//!
//! ```text
//! backend spoe-agents
//!     mode tcp
//!     server agent1 192.0.2.1:9000 ssl crt haproxy.pem ca-file ca.pem verify required
//! ```
//!
//! And here, in an agent that takes connections from such a HAProxy only:
//!
//! ```no_run
//! use spop_server::tls::{ServerIdentity, TlsListener};
//! use spop_server::{Router, serve};
//! use tokio::net::TcpListener;
//!
//! # async fn agent(router: Router) -> Result<(), Box<dyn std::error::Error>> {
//! let config = ServerIdentity::from_pem_files("agent.pem", "agent.key")?
//!     .with_client_ca("ca.pem")?
//!     .into_config()?;
//! let listener = TcpListener::bind("0.0.0.0:9000").await?;
//! serve(TlsListener::new(listener, config), router).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Certificates are read once: an agent with new ones is a new process, and a drain makes
//! that seamless. HAProxy allows its health checks no longer for TCP and TLS handshake
//! together than their `inter`: leave it at seconds.

mod identity;
mod stream;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

pub use identity::{ServerIdentity, TlsError};
pub use stream::TlsStream;
pub use tokio_rustls::rustls;

use super::Listener;
use crate::peer::Peer;

/// Speaks TLS on the connections of another listener.
///
/// The handshake is the connection's own affair: it keeps no other waiting, and the limit
/// for HAProxy's HELLO
/// ([`AgentConfig::with_hello_timeout`](spop_codec::AgentConfig::with_hello_timeout)) is for
/// both together.
pub struct TlsListener<L> {
    inner: L,
    acceptor: TlsAcceptor,
}

impl<L: Listener> TlsListener<L> {
    /// `config` from [`ServerIdentity::into_config`], or any other.
    pub fn new(inner: L, config: Arc<rustls::ServerConfig>) -> Self {
        Self {
            inner,
            acceptor: config.into(),
        }
    }

    /// The listener below.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }
}

impl<L: Listener> Listener for TlsListener<L> {
    type Io = TlsStream<L::Io>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (io, peer) = self.inner.accept().await?;
        Ok((TlsStream::new(self.acceptor.accept(io)), peer))
    }

    fn tune(io: &Self::Io, keepalive: Option<Duration>) -> io::Result<()> {
        io.get_ref().map_or(Ok(()), |io| L::tune(io, keepalive))
    }
}

impl<L: fmt::Debug> fmt::Debug for TlsListener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
