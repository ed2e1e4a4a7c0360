//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

/// HAProxy's end of a connection, as far as the transport tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP connection's other address.
    Tcp(SocketAddr),
    /// A Unix socket's other process, as the kernel knows it.
    Unix {
        /// Its process id, if it is visible from here.
        pid: Option<i32>,
        /// Its effective user id when it connected.
        uid: u32,
    },
    /// This process: a test, or a transport without addresses.
    #[default]
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { pid: None, uid } => write!(f, "unix:uid={uid}"),
            Self::Unix {
                pid: Some(pid),
                uid,
            } => write!(f, "unix:pid={pid},uid={uid}"),
            Self::Local => f.write_str("local"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}
