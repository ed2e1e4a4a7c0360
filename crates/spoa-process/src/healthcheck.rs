//! What HAProxy's `option spop-check` asks, of the agent on this host.

use std::io;
use std::time::Duration;

use spop_client::{ClientError, Connection, Pong, health_check};
use spop_server::Endpoint;
use tokio::runtime::Builder;

use crate::Listen;

/// For each step: to connect, to be answered, and to see the agent close.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why an agent does not count as healthy. One line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unhealthy {
    /// The address does not say where to ask.
    #[error(
        "{addr}: {missing}; say where the agent is with {option}, such as {option} 127.0.0.1:9000"
    )]
    Where {
        /// The address as given.
        addr: Listen,
        /// Why it does not.
        missing: &'static str,
        /// The command's option for another address.
        option: &'static str,
    },
    /// There can be no runtime to ask from.
    #[error("cannot ask: {0}")]
    Runtime(#[from] io::Error),
    /// It was asked, and did not answer as an agent does that is well.
    #[error("{addr} is not healthy: {error}")]
    Agent {
        /// Where it was asked.
        addr: Listen,
        /// What came instead.
        error: ClientError,
    },
}

/// Asks the agent that listens on `addr`, and returns a line that says that it is healthy. Every
/// address of this host (0.0.0.0, \[::\]) means its loopback address. Takes 9 s at most.
///
/// `option` is the command's option for another address, for whom the error has to tell.
///
/// # Errors
/// [`Unhealthy`].
///
/// # Panics
/// Inside a tokio runtime.
pub fn healthcheck(addr: &Listen, option: &'static str) -> Result<String, Unhealthy> {
    let addr = addr.from_this_host().map_err(|missing| Unhealthy::Where {
        addr: addr.clone(),
        missing,
        option,
    })?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(ask(&addr));
    // A resolver may still be busy on a thread of its own.
    runtime.shutdown_background();
    match asked {
        Ok(pong) => Ok(format!(
            "{addr} is healthy: answered in {:?}",
            pong.round_trip
        )),
        Err(error) => Err(Unhealthy::Agent { addr, error }),
    }
}

async fn ask(addr: &Listen) -> Result<Pong, ClientError> {
    let patience = Some(PATIENCE);
    match addr {
        Listen::Name(name) => health_check(Connection::connect(name, patience).await?).await,
        Listen::At(Endpoint::Tcp(addr)) => {
            health_check(Connection::connect(addr, patience).await?).await
        }
        Listen::At(Endpoint::Unix(path)) => {
            health_check(Connection::connect_unix(path, patience).await?).await
        }
        Listen::At(Endpoint::Abstract(name)) => {
            let path = abstract_path(name);
            health_check(Connection::connect_unix(path, patience).await?).await
        }
        Listen::At(_) => Err(ClientError::Connect(io::ErrorKind::Unsupported.into())),
    }
}

/// As HAProxy and the agent write it: filled up with zeros to the length of an address. The
/// zero in front is what makes it abstract.
fn abstract_path(name: &str) -> String {
    format!("\0{name:\0<107}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(addr: &str) -> String {
        let asked = healthcheck(&addr.parse().unwrap(), "--spoe-addr");
        asked.unwrap_err().to_string()
    }

    #[test]
    fn who_does_not_say_where_is_told_how() {
        let expected = "fd@spop: systemd knows where that socket listens; say where the agent is \
                        with --spoe-addr, such as --spoe-addr 127.0.0.1:9000";
        assert_eq!(said("fd@spop"), expected);
    }

    #[test]
    fn an_agent_that_is_not_there_is_not_healthy() {
        for addr in ["unix@/no/such/directory/agent.sock", "abns@no-such-agent"] {
            let said = said(addr);
            let begin = format!("{addr} is not healthy: ");
            assert!(said.starts_with(&begin), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
