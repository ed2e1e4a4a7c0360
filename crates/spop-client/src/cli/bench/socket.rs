//! A socket to the agent, after the handshake, that belongs to no runtime yet.

use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use spop_client::spop_codec::Negotiated;
use spop_client::{Client, ClientError, Connection, haproxy_hello};

use super::Address;

/// Non-blocking, and with TCP_NODELAY.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Connects and shakes hands like HAProxy 3.1 and later.
    pub(super) async fn open(
        address: &Address,
        timeout: Option<Duration>,
    ) -> Result<(Self, Negotiated), ClientError> {
        match address {
            Address::Tcp(addr) => {
                let connection = Connection::connect(addr, timeout).await?;
                let client = Client::over(connection, haproxy_hello()).await?;
                let agreed = client.negotiated();
                let io = client.into_connection().into_inner().into_std()?;
                Ok((Self::Tcp(io), agreed))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let connection = Connection::connect_unix(path, timeout).await?;
                let client = Client::over(connection, haproxy_hello()).await?;
                let agreed = client.negotiated();
                let io = client.into_connection().into_inner().into_std()?;
                Ok((Self::Unix(io), agreed))
            }
        }
    }
}
