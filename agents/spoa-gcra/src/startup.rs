//! What the network has to say about Valkey's nodes before anything is served: names that do
//! not resolve.

use std::io;

use redis::ConnectionAddr;
use tokio::net::lookup_host;
use tracing::warn;

use crate::settings::{Settings, ValkeyNode};
use crate::store::valkey;

/// Why the agent does not start. One line, which names the variable, its value and what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] spoa_process::StartError),
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
