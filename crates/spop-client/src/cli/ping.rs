//! `spop ping`: is an agent healthy?

use std::io::Write;

use clap::Args;
use spop_client::spop_codec::Text;
use spop_client::{ClientError, Connection, Pong, health_check};

use super::address::Address;
use super::{Agent, CliError, milliseconds};

/// Asks an agent whether it is healthy, as HAProxy's `option spop-check` does.
///
/// Sends a HELLO that is marked as a health check, judges the agent's HELLO as HAProxy does,
/// and makes sure that nothing follows it. An agent may leave it to HAProxy to close the
/// connection: that is no fault, but takes the whole timeout to see.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Ping {
    #[command(flatten)]
    agent: Agent,
}

const EXAMPLES: &str = "\
Examples:
  spop ping 127.0.0.1:9000
  spop ping unix:/run/agent.sock --timeout 500

Prints:
  127.0.0.1:9000 is healthy, it answered after 0.214 ms
    version         2.0
    max-frame-size  16380 bytes
    capabilities    none
    connection      closed by the agent

A health check announces no capabilities, so many agents announce none in return.";

impl Ping {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<(), CliError> {
        let address = &self.agent.address;
        let pong = self.check().await.map_err(|error| CliError::Agent {
            address: address.clone(),
            error,
        })?;
        let hello = &pong.agent_hello;
        let version = hello.version.as_deref().unwrap_or_default();
        let size = hello.max_frame_size.unwrap_or_default();
        let capabilities = match hello.capabilities.unwrap_or_default().to_string() {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        let connection = if pong.closed {
            "closed by the agent"
        } else {
            "left open for HAProxy to close"
        };
        let time = milliseconds(pong.round_trip);
        writeln!(out, "{address} is healthy, it answered after {time}")?;
        writeln!(out, "  version         {}", Text::new(version))?;
        writeln!(out, "  max-frame-size  {size} bytes")?;
        writeln!(out, "  capabilities    {capabilities}")?;
        writeln!(out, "  connection      {connection}")?;
        Ok(())
    }

    async fn check(&self) -> Result<Pong, ClientError> {
        let timeout = self.agent.timeout();
        match &self.agent.address {
            Address::Tcp(addr) => health_check(Connection::connect(addr, timeout).await?).await,
            #[cfg(unix)]
            Address::Unix(path) => {
                health_check(Connection::connect_unix(path, timeout).await?).await
            }
        }
    }
}
