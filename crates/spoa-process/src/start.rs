//! Listening: where names become addresses, and addresses sockets.

use std::io;
use std::net::SocketAddr;

use spop_server::{BoundListener, Endpoint, ListenError};
use tokio::net::{TcpListener, lookup_host};
use tracing::warn;

use crate::serve::{Listening, StopSignals};
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
    /// The system does not let it listen for SIGTERM and SIGINT.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

/// Listens on both, and before that for SIGTERM and SIGINT: from here on they do not end the
/// process, but [`Listening::serve`]. A path that is too long for HAProxy gets a warning.
///
/// A socket of systemd's is looked up in the environment, and taken out of it, unless
/// [`spop_server::claim_inherited`] has done so: to be called before other threads run, as
/// [`run`](crate::run) does.
///
/// # Errors
/// [`StartError`].
pub async fn listen(spop: &Listen, admin: &AdminAddr) -> Result<Listening, StartError> {
    let stop = StopSignals::catch().map_err(StartError::Signals)?;
    spop.warn_if_too_long_for_haproxy();
    let spop = listen_spop(spop).await?;
    Ok(Listening::new(spop, listen_admin(admin).await?, stop))
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken() -> (TcpListener, String) {
        let (listener, addr) = bind_tcp("127.0.0.1:0").await.unwrap();
        (listener, addr.to_string())
    }

    #[tokio::test]
    async fn names_are_resolved_and_ports_chosen() {
        let (spop, admin) = ("localhost:0".parse(), "localhost:0".parse());
        let listening = listen(&spop.unwrap(), &admin.unwrap()).await.unwrap();
        assert!(!listening.addr().to_string().ends_with(":0"));
        assert_ne!(listening.admin_addr().unwrap().port(), 0);
    }

    #[tokio::test]
    async fn an_error_names_the_variable_its_value_and_what_to_do() {
        let (_listener, taken) = taken().await;
        let said = async |addr: &str| {
            let listened = listen_spop(&addr.parse().unwrap()).await;
            listened.unwrap_err().to_string()
        };
        let begin = format!("SPOE_ADDR=\"{taken}\": {taken} is in use");
        assert!(said(&taken).await.starts_with(&begin));
        // An address for documentation, which no host has.
        let elsewhere = said("192.0.2.1:9000").await;
        assert!(
            elsewhere.contains("; give an address of this host"),
            "{elsewhere}"
        );
        let nowhere = said("unix@/no/such/directory/agent.sock").await;
        assert!(
            nowhere.contains("; give a path in a directory"),
            "{nowhere}"
        );
        let admin = listen_admin(&taken.parse().unwrap()).await.unwrap_err();
        let admin = admin.to_string();
        let begin = format!("SPOA_ADMIN_ADDR=\"{taken}\": cannot listen: ");
        assert!(admin.starts_with(&begin), "{admin}");
        assert!(admin.ends_with("; give an address of this host and a free port, or off"));
    }

    #[tokio::test]
    async fn nobody_has_to_have_metrics_who_did_not_ask_for_them() {
        let (_listener, taken) = taken().await;
        let default = AdminAddr {
            addr: Some(taken),
            required: false,
        };
        assert!(listen_admin(&default).await.unwrap().is_none());
        assert!(listen_admin(&AdminAddr::off()).await.unwrap().is_none());
    }
}
