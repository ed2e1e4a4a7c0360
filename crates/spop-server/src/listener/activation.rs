//! Sockets that a supervisor opened for this process: systemd's socket activation
//! (sd_listen_fds(3)).

use std::env;
use std::io;
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, PoisonError};

use listenfd::ListenFd;
use socket2::SockRef;
use tokio::net::TcpListener;

use super::{BoundListener, ListenError, UnixListener};

/// The number of the first descriptor that is passed.
const FIRST: usize = 3;

/// The environment is read once, as a descriptor can be owned once.
static PASSED: LazyLock<Mutex<Passed>> = LazyLock::new(|| Mutex::new(Passed::from_env()));

/// Finds out which sockets this process was started with, and takes `LISTEN_PID` and
/// `LISTEN_FDS` out of the environment: at the beginning of `main`, before there are other
/// threads, a runtime's among them. [`inherited`] and `fd@…` have the sockets later.
///
/// Nothing goes wrong without it as long as no other thread uses the environment. Calling it
/// again does nothing.
///
/// ```no_run
/// use std::error::Error;
///
/// use spop_server::{Endpoint, Router, claim_inherited, serve};
/// use tokio::runtime::Runtime;
///
/// fn main() -> Result<(), Box<dyn Error>> {
///     claim_inherited();
///     Runtime::new()?.block_on(async {
///         let listener = "fd@spop".parse::<Endpoint>()?.bind().await?;
///         Ok(serve(listener, Router::new()).await?)
///     })
/// }
/// ```
pub fn claim_inherited() {
    LazyLock::force(&PASSED);
}

/// All listening sockets that this process was started with and that are not taken yet, in
/// the order of the socket units; empty when it was started by other means. TCP and Unix
/// stream sockets are understood.
///
/// Reads `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` the first time, unless
/// [`claim_inherited`] has done so, and takes the first two out of the environment: call it, or
/// bind `fd@…`, before other threads use the environment.
///
/// ```
/// use spop_server::{Endpoint, ListenError, Router, ServeError, inherited, serve};
///
/// async fn run(service: Router) -> Result<(), ServeError> {
///     let mut listeners = inherited()?.into_iter();
///     let first = match listeners.next() {
///         Some(first) => first,
///         None => Endpoint::Tcp(([0, 0, 0, 0], 9000).into()).bind().await?,
///     };
///     let mut server = serve(first, service);
///     for listener in listeners {
///         server = server.and(listener);
///     }
///     server.await
/// }
/// ```
///
/// # Errors
/// [`ListenError::NotListening`] for a descriptor of any other kind.
///
/// # Panics
/// Outside a tokio runtime.
pub fn inherited() -> Result<Vec<BoundListener>, ListenError> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut listeners = Vec::new();
    for index in 0..passed.sockets.len() {
        listeners.extend(passed.take(index)?);
    }
    Ok(listeners)
}

/// The one of this number or name.
pub(super) fn take(name: &str) -> Result<BoundListener, ListenError> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = |passed: &Passed| ListenError::NotInherited {
        name: name.to_owned(),
        count: passed.sockets.len(),
    };
    let index = match name.parse::<usize>() {
        Ok(number) => number.checked_sub(FIRST),
        Err(_) => passed.names.iter().position(|known| known == name),
    };
    let taken = match index {
        Some(index) => passed.take(index)?,
        None => None,
    };
    taken.ok_or_else(|| missing(&passed))
}

struct Passed {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Passed {
    fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            sockets: ListenFd::from_env(),
            names: names.split(':').map(String::from).collect(),
        }
    }

    /// `None`: there is no such socket, or it is taken.
    fn take(&mut self, index: usize) -> Result<Option<BoundListener>, ListenError> {
        let unusable = |_: io::Error| ListenError::NotListening(FIRST + index);
        if let Ok(listener) = self.sockets.take_tcp_listener(index) {
            let Some(listener) = listener else {
                return Ok(None);
            };
            is_listening(&listener).map_err(unusable)?;
            listener.set_nonblocking(true).map_err(unusable)?;
            let listener = TcpListener::from_std(listener).map_err(unusable)?;
            return Ok(Some(BoundListener::Tcp(listener)));
        }
        // Not TCP, then.
        let listener = self.sockets.take_unix_listener(index).map_err(unusable)?;
        let Some(listener) = listener else {
            return Ok(None);
        };
        is_listening(&listener).map_err(unusable)?;
        let listener = UnixListener::from_std(listener).map_err(unusable)?;
        Ok(Some(BoundListener::Unix(listener)))
    }
}

/// With `Accept=yes`, systemd passes connections instead.
fn is_listening(socket: &impl AsFd) -> io::Result<()> {
    if SockRef::from(socket).is_listener()? {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}
