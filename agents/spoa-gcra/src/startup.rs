//! What the network has to say about the settings before anything is served: names that do
//! not resolve, addresses that cannot be listened on.

use std::io;
use std::net::SocketAddr;

use redis::ConnectionAddr;
use spop_server::{BoundListener, Endpoint, ListenError};
use tokio::net::{TcpListener, lookup_host};
use tracing::warn;

use crate::settings::{AdminAddr, Listen, Settings, ValkeyNode};
use crate::store::valkey;

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
    /// No host of `VALKEY_NODES` has an address.
    #[error(
        "VALKEY_NODES={nodes:?}: no name resolves: {error}; give hosts that this one can resolve, \
         or leave it unset to keep the state in this process"
    )]
    Resolve {
        /// The nodes, without passwords.
        nodes: String,
        /// What the resolver said of the last one.
        error: io::Error,
    },
    /// The Valkey store does not take the settings.
    #[error("VALKEY_NODES={nodes:?}: {error}")]
    Valkey {
        /// The nodes, without passwords.
        nodes: String,
        /// What is wrong with them.
        error: valkey::ConfigError,
    },
}

/// Whether the Valkey nodes have addresses at all. That they answer is not asked: the agent
/// serves without them.
///
/// A cluster is found through any of its nodes, so one name that resolves is enough; each
/// other gets a warning. In Kubernetes the name of a pod that is down is gone for a while.
///
/// # Errors
/// [`StartError::Resolve`] if no name resolves.
pub async fn resolve_nodes(settings: &Settings) -> Result<(), StartError> {
    let mut unresolved = Vec::new();
    for node in &settings.valkey {
        if let Err(error) = resolve(node).await {
            unresolved.push((node, error));
        }
    }
    if unresolved.len() == settings.valkey.len()
        && let Some((_, error)) = unresolved.pop()
    {
        return Err(StartError::Resolve {
            nodes: settings.nodes(),
            error,
        });
    }
    for (node, error) in unresolved {
        warn!(%node, %error, "a node of VALKEY_NODES does not resolve");
    }
    Ok(())
}

/// Listens on `SPOE_ADDR`: of a name's addresses, on the first where that is possible.
///
/// # Errors
/// [`StartError::Listen`] and [`StartError::ListenName`].
pub async fn listen(settings: &Settings) -> Result<BoundListener, StartError> {
    let name = match &settings.listen {
        Listen::At(endpoint) => return bind(settings, endpoint).await,
        Listen::Name(name) => name,
    };
    let unknown = |error| StartError::ListenName {
        addr: name.clone(),
        error,
    };
    let mut result = Err(unknown(io::ErrorKind::NotFound.into()));
    for address in lookup_host(name).await.map_err(unknown)? {
        result = bind(settings, &Endpoint::Tcp(address)).await;
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
    settings: &Settings,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(AdminAddr { addr, required }) = &settings.admin else {
        return Ok(None);
    };
    match bind_tcp(addr).await {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if *required => Err(StartError::ListenAdmin {
            addr: addr.clone(),
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

async fn bind(settings: &Settings, endpoint: &Endpoint) -> Result<BoundListener, StartError> {
    let bound = endpoint.bind().await;
    bound.map_err(|error| StartError::Listen {
        addr: settings.listen.clone(),
        error,
    })
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

async fn bind_tcp(addr: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

async fn resolve(node: &ValkeyNode) -> io::Result<()> {
    let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
        node.info.addr()
    else {
        return Ok(());
    };
    match lookup_host((host.as_str(), *port)).await?.next() {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}
