//! `spoa-gcra healthcheck`: what HAProxy's `option spop-check` asks, of the agent on this host.

use std::io;
use std::time::Duration;

use spoa_gcra::settings::{Listen, Settings, SettingsError};
use spop_client::{ClientError, Connection, Pong, health_check};
use spop_server::Endpoint;

/// For each step: to connect, to be answered, and to see the agent close.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask the agent at SPOE_ADDR whether it is healthy, as HAProxy's `option spop-check` does.
/// Exit code 0 if it is, 1 if not.
///
/// No other setting is read. Every address of this host (0.0.0.0, [::]) means its loopback
/// address.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The agent's address, in place of SPOE_ADDR.
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<Listen>,
}

/// Why the agent does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unhealthy {
    #[error(transparent)]
    Setting(#[from] SettingsError),
    #[error("{addr}: {missing}; say where the agent is with --addr, such as --addr 127.0.0.1:9000")]
    Where { addr: Listen, missing: &'static str },
    #[error("cannot ask: {0}")]
    Runtime(#[from] io::Error),
    #[error("{addr} is not healthy: {error}")]
    Agent { addr: Listen, error: ClientError },
}

pub(super) fn execute(options: Options) -> Result<(), Unhealthy> {
    let listen = match options.addr {
        Some(addr) => addr,
        None => Settings::listen_from_env()?,
    };
    let addr = match listen.from_this_host() {
        Ok(addr) => addr,
        Err(missing) => {
            return Err(Unhealthy::Where {
                addr: listen,
                missing,
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = runtime.block_on(ask(&addr));
    // A resolver may still be busy on a thread of its own.
    runtime.shutdown_background();
    match asked {
        Ok(pong) => {
            println!("{addr} is healthy: answered in {:?}", pong.round_trip);
            Ok(())
        }
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
