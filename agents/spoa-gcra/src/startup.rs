//! What the network has to say about the settings before anything is served: names that do
//! not resolve, addresses that cannot be listened on.

use std::io;
use std::net::SocketAddr;

use redis::ConnectionAddr;
use tokio::net::{TcpListener, lookup_host};
use tracing::warn;

use crate::settings::{AdminAddr, Settings, ValkeyNode};
use crate::store::valkey;

/// Why the agent does not start. One line, which names the variable, its value and what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `SPOE_ADDR` cannot be listened on.
    #[error(
        "SPOE_ADDR={addr:?}: cannot listen: {error}; give an address of this host and a free port"
    )]
    Listen {
        /// The address as given.
        addr: String,
        /// What the system said.
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

/// Listens on `SPOE_ADDR`.
///
/// # Errors
/// [`StartError::Listen`].
pub async fn listen(settings: &Settings) -> Result<(TcpListener, SocketAddr), StartError> {
    let listening = bind(&settings.listen).await;
    listening.map_err(|error| StartError::Listen {
        addr: settings.listen.clone(),
        error,
    })
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
    match bind(addr).await {
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

async fn bind(addr: &str) -> io::Result<(TcpListener, SocketAddr)> {
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
