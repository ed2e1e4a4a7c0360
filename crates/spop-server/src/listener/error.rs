//! Why there is no listening socket.

use std::io;
use std::path::PathBuf;

use super::Endpoint;
use crate::error::ServeError;

/// An [`Endpoint`] cannot be listened on. Each is one line that an operator can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process, or another listener of this one, is there.
    #[error("{0} is in use: stop whoever listens there, or choose another address")]
    InUse(Endpoint),
    /// The path leads to something that is not a socket. It is left alone.
    #[error("{} exists and is not a socket: choose another path, or remove it", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit into a socket's address (unix(7)).
    #[error(
        "{} has {} bytes, and the path of a Unix socket at most {limit}: choose a shorter one",
        path.display(),
        path.as_os_str().len()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Bytes that fit: 107 on Linux.
        limit: usize,
    },
    /// No such socket was passed, or it is taken already.
    #[error(
        "fd@{name} was not passed to this process, or is taken already: it was started with \
         {count} (LISTEN_FDS, LISTEN_FDNAMES)"
    )]
    NotInherited {
        /// Number or name of the descriptor.
        name: String,
        /// How many were passed at the start.
        count: usize,
    },
    /// What was passed is not a listening TCP or Unix stream socket.
    #[error(
        "fd@{0} is not a listening stream socket: the systemd socket unit needs ListenStream= \
         and Accept=no"
    )]
    NotListening(usize),
    /// The system refuses.
    #[error("cannot listen on {endpoint}: {source}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    pub(super) fn io(endpoint: Endpoint, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::InUse(endpoint)
        } else {
            Self::Io { endpoint, source }
        }
    }
}

impl From<ListenError> for ServeError {
    fn from(error: ListenError) -> Self {
        Self::Listener(io::Error::other(error))
    }
}
