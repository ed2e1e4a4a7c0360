//! Unix sockets: who may connect, and the file's life from stale to removed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net as std_net;
use std::path::{self, Path, PathBuf};

use tokio::net::{UnixSocket, UnixStream};
use tracing::{debug, info};

use super::{Endpoint, ListenError, Listener};
use crate::peer::Peer;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 1024;

/// Owner and group may connect.
const DEFAULT_MODE: u32 = 0o660;

/// Listens on a Unix socket.
///
/// A socket file that it made is removed when it is dropped, unless another process has
/// replaced it meanwhile.
#[derive(Debug)]
pub struct UnixListener {
    inner: tokio::net::UnixListener,
    endpoint: Endpoint,
    _file: Option<SocketFile>,
}

impl UnixListener {
    /// Bytes that a path may have: those of a socket's address but for the zero at its end
    /// (unix(7)).
    pub const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

    /// Listens on a path, for processes of the same user and group (mode 660): HAProxy's
    /// user should be in the agent's group, or the agent run with HAProxy's as its own.
    ///
    /// A socket that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`ListenError::InUse`] when a living process listens there, and the others.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(path: impl AsRef<Path>) -> Result<Self, ListenError> {
        Self::bind_with_mode(path, DEFAULT_MODE).await
    }

    /// [`bind`](Self::bind) with permissions such as `0o600`. To connect needs the bit for
    /// writing, and at no moment can anybody connect whom the mode keeps out.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind_with_mode(path: impl AsRef<Path>, mode: u32) -> Result<Self, ListenError> {
        let path = path.as_ref();
        if path.as_os_str().len() > Self::MAX_PATH {
            let path = path.to_owned();
            return Err(ListenError::PathTooLong {
                path,
                limit: Self::MAX_PATH,
            });
        }
        let endpoint = Endpoint::Unix(path.to_owned());
        let refused = |error| ListenError::io(endpoint.clone(), error);
        make_way(path).await?;
        let socket = UnixSocket::new_stream().map_err(refused)?;
        socket.bind(path).map_err(refused)?;
        let file = SocketFile::of(path).map_err(refused)?;
        // Before it listens: until then a connection is refused, whatever the mode says.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(refused)?;
        let inner = socket.listen(BACKLOG).map_err(refused)?;
        Ok(Self {
            inner,
            endpoint,
            _file: Some(file),
        })
    }

    /// Listens on a name in Linux's abstract namespace, as `server agent abns@name` of
    /// HAProxy connects to it. There is no file, and nothing to keep a local process out.
    ///
    /// # Errors
    /// [`ListenError::InUse`] when the name is taken; on other systems always.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_abstract(name: &str) -> Result<Self, ListenError> {
        let endpoint = Endpoint::Abstract(name.to_owned());
        abstract_address(name)
            .and_then(|address| std_net::UnixListener::bind_addr(&address))
            .and_then(|listener| Self::listening(listener, endpoint.clone()))
            .map_err(|error| ListenError::io(endpoint, error))
    }

    /// Takes a socket that listens already. Its file stays when this is dropped.
    ///
    /// # Errors
    /// When tokio cannot take it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_std(listener: std_net::UnixListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let endpoint = match (address.as_pathname(), abstract_name(&address)) {
            (Some(path), _) => Endpoint::Unix(path.to_owned()),
            (None, Some(name)) => Endpoint::Abstract(name),
            (None, None) => Endpoint::Unix(PathBuf::new()),
        };
        Self::listening(listener, endpoint)
    }

    fn listening(listener: std_net::UnixListener, endpoint: Endpoint) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            inner: tokio::net::UnixListener::from_std(listener)?,
            endpoint,
            _file: None,
        })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// The path of its socket, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.endpoint {
            Endpoint::Unix(path) => Some(path),
            _ => None,
        }
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _unnamed) = self.inner.accept().await?;
        let peer = stream.peer_cred().map_or(Peer::Local, |who| Peer::Unix {
            pid: who.pid(),
            uid: who.uid(),
        });
        Ok((stream, peer))
    }
}

/// Removes the socket of a dead process from `path`, and nothing else.
async fn make_way(path: &Path) -> Result<(), ListenError> {
    let endpoint = Endpoint::Unix(path.to_owned());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ListenError::io(endpoint, error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        // Nobody has it open any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ListenError::io(endpoint, error));
        }
        // Somebody answers, is too busy to answer, or speaks in datagrams.
        Ok(_) | Err(_) => return Err(ListenError::InUse(endpoint)),
    }
    info!(path = %path.display(), "replacing the socket of a process that is gone");
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ListenError::io(endpoint, error))
        }
        _ => Ok(()),
    }
}

/// A socket's file, removed when dropped if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            // The process may change its directory later.
            path: path::absolute(path)?,
            identity: Self::identity(path)?,
        })
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        let file = fs::symlink_metadata(path)?;
        Ok((file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            debug!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

/// HAProxy fills the name up with zeros to the whole length of an address.
#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<std_net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;

    let mut padded = name.as_bytes().to_vec();
    // One that is too long stays so, and is refused.
    padded.resize(name.len().max(UnixListener::MAX_PATH), 0);
    std_net::SocketAddr::from_abstract_name(padded)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<std_net::SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn abstract_name(address: &std_net::SocketAddr) -> Option<String> {
    use std::os::linux::net::SocketAddrExt as _;

    let name = String::from_utf8_lossy(address.as_abstract_name()?);
    Some(name.trim_end_matches('\0').to_owned())
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &std_net::SocketAddr) -> Option<String> {
    None
}
