//! What HAProxy's `option spop-check` asks, asked of the agent on this host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use spop_client::{Connection, health_check};
use spop_server::Endpoint;

/// For each step: to connect, to be answered, and to see the agent close.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(3));

/// Asks. Every address of the host means its loopback address.
pub(crate) async fn ask(mut endpoint: Endpoint) -> Result<()> {
    if let Endpoint::Tcp(addr) = &mut endpoint
        && addr.ip().is_unspecified()
    {
        let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        addr.set_ip(if addr.is_ipv4() { v4 } else { v6 });
    }
    let asked = async {
        match &endpoint {
            Endpoint::Tcp(addr) => {
                Ok(health_check(Connection::connect(addr, PATIENCE).await?).await?)
            }
            Endpoint::Unix(path) => {
                Ok(health_check(Connection::connect_unix(path, PATIENCE).await?).await?)
            }
            _ => bail!("cannot connect there; say with --spoe-addr where the agent is"),
        }
    };
    let pong = asked
        .await
        .with_context(|| format!("{endpoint} is not healthy"))?;
    println!("{endpoint} is healthy: answered in {:?}", pong.round_trip);
    Ok(())
}
