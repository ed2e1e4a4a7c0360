//! Listening: where names become addresses, and addresses sockets.

use std::io;
use std::net::SocketAddr;

use spop_server::{BoundListener, Endpoint, ListenError};
use tokio::net::{TcpListener, lookup_host};
use tracing::warn;

use crate::serve::Listening;
use crate::{AdminAddr, Listen};

/// Why the agent does not start. One line, which names the variable, its value and what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `SPOE_ADDR` cannot be listened on.
    #[error("SPOE_ADDR={:?}: {error}{}", addr.to_string(), what_to_do(error))]
    Listen {
        /// The address as given.
        addr: Listen,
        /// What is in the way.
        error: ListenError,
    },
    /// The host name in `SPOE_ADDR` has no address.
    #[error("SPOE_ADDR={addr:?}: no such name: {error}; give an address or a name of this host")]
    ListenName {
        /// The host name and port as given.
        addr: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// `SPOA_ADMIN_ADDR` is set and cannot be listened on.
    #[error(
        "SPOA_ADMIN_ADDR={addr:?}: cannot listen: {error}; give an address of this host and a \
         free port, or off"
    )]
    ListenAdmin {
        /// The address as given.
        addr: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Listens on both. To be done before other threads run: a socket of systemd's is looked up
/// in the environment, and taken out of it.
///
/// # Errors
/// [`StartError`].
pub async fn listen(spop: &Listen, admin: &AdminAddr) -> Result<Listening, StartError> {
    let spop = listen_spop(spop).await?;
    Ok(Listening::new(spop, listen_admin(admin).await?))
}

/// Listens on `SPOE_ADDR`: of a name's addresses, on the first where that is possible.
///
/// # Errors
/// [`StartError::Listen`] and [`StartError::ListenName`].
pub async fn listen_spop(addr: &Listen) -> Result<BoundListener, StartError> {
    let bind = async |endpoint: &Endpoint| {
        let bound = endpoint.bind().await;
        bound.map_err(|error| StartError::Listen {
            addr: addr.clone(),
            error,
        })
    };
    let name = match addr {
        Listen::At(endpoint) => return bind(endpoint).await,
        Listen::Name(name) => name,
    };
    let unknown = |error| StartError::ListenName {
        addr: name.clone(),
        error,
    };
    let mut result = Err(unknown(io::ErrorKind::NotFound.into()));
    for address in lookup_host(name).await.map_err(unknown)? {
        result = bind(&Endpoint::Tcp(address)).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Listens on `SPOA_ADMIN_ADDR`. `None`: it is off, or nobody has set it and the default
/// cannot be listened on, as by the second agent on a machine, which gets a warning.
///
/// # Errors
/// [`StartError::ListenAdmin`].
pub async fn listen_admin(
    admin: &AdminAddr,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(addr) = admin.addr() else {
        return Ok(None);
    };
    match bind_tcp(addr).await {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if admin.is_required() => Err(StartError::ListenAdmin {
            addr: addr.to_owned(),
            error,
        }),
        Err(error) => {
            warn!(
                addr, %error,
                "going on without metrics; set SPOA_ADMIN_ADDR to a free port, or to off"
            );
            Ok(None)
        }
    }
}

async fn bind_tcp(addr: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Where the error itself does not say it.
fn what_to_do(error: &ListenError) -> &'static str {
    match error {
        ListenError::Io { endpoint, .. } => match endpoint {
            Endpoint::Tcp(_) => "; give an address of this host, and a port that is not reserved",
            Endpoint::Unix(_) => "; give a path in a directory that this user may write to",
            _ => "; give another address",
        },
        ListenError::NotInherited { .. } => {
            "; use fd@ below a systemd socket unit only, with its FileDescriptorName="
        }
        _ => "",
    }
}
