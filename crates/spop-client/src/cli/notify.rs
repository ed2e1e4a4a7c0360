//! `spop notify`: what does an agent answer?

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use spop_client::spop_codec::Ack;
use spop_client::{Client, ClientError, Connection, haproxy_hello};
use tokio::io::{AsyncRead, AsyncWrite};

use super::address::Address;
use super::argument::Argument;
use super::{Agent, CliError, action, milliseconds};

/// Sends one message to an agent and prints the actions that it answers with.
///
/// Connects and shakes hands like HAProxy 3.1 and later, sends a NOTIFY, and waits for the ACK.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Notify {
    #[command(flatten)]
    agent: Agent,

    /// The name of the message, as in HAProxy's `spoe-message`
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    message: String,

    /// Arguments of the message, at most 255: NAME=VALUE, NAME:TYPE=VALUE or NAME:null
    ///
    /// Without a TYPE, an IPv4 or IPv6 address is sent as such, `true` and `false` as BOOL, an
    /// integer as INT64, and everything else as STRING.
    ///
    /// TYPE is one of: str (STRING), int (INT64), bool (true or false), ip (IPv4 or IPv6), bin
    /// (BINARY, in hexadecimal digits), null (no value: what HAProxy sends when it has none).
    ///
    /// NAME may be empty, for an argument without a name.
    #[arg(value_name = "ARG", num_args = 0..=255)]
    arguments: Vec<Argument>,

    /// Print each answer as one JSON object on a line of its own
    #[arg(long)]
    json: bool,

    /// How many times to send the message, one after the other on one connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
}

const EXAMPLES: &str = "\
Examples:
  spop notify 127.0.0.1:9000 check-rate ip_src=192.0.2.7
  spop notify 127.0.0.1:9000 check-rate ip_src:null ip_xff:str=192.0.2.7 --json
  spop notify 127.0.0.1:9000 check-body body:bin=7b7d =true --repeat 3
  spop notify unix:/run/agent.sock check-rate ip_src=2001:db8::7 --timeout 15

Prints:
  set-var sess.ip_score = 100 (INT32)
  set-var txn.allowed = false (BOOL)
  2 actions after 0.187 ms";

impl Notify {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<(), CliError> {
        let timeout = self.agent.timeout();
        match &self.agent.address {
            Address::Tcp(addr) => {
                self.ask(Connection::connect(addr, timeout).await, out)
                    .await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let connection = Connection::connect_unix(path, timeout).await;
                self.ask(connection, out).await
            }
        }
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: Result<Connection<S>, ClientError>,
        out: &mut impl Write,
    ) -> Result<(), CliError> {
        let failed = |error| CliError::Agent {
            address: self.agent.address.clone(),
            error,
        };
        let client = Client::over(connection.map_err(failed)?, haproxy_hello()).await;
        let mut client = client.map_err(failed)?;
        for _ in 0..self.repeat {
            let arguments = self.arguments.iter().map(Argument::as_pair);
            let begin = Instant::now();
            let ack = client.notify(&self.message, arguments).await;
            let time = begin.elapsed();
            self.print(&ack.map_err(failed)?, time, out)?;
        }
        Ok(())
    }

    fn print(&self, ack: &Ack, time: Duration, out: &mut impl Write) -> Result<(), CliError> {
        if self.json {
            let actions: Vec<_> = ack.actions().map(|each| action::object(&each)).collect();
            let answer = json!({
                "stream_id": ack.stream_id(),
                "frame_id": ack.frame_id(),
                "microseconds": u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
                "actions": actions,
            });
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        let mut count = 0_usize;
        for each in ack.actions() {
            writeln!(out, "{}", action::line(&each))?;
            count += 1;
        }
        let noun = if count == 1 { "action" } else { "actions" };
        writeln!(out, "{count} {noun} after {}", milliseconds(time))?;
        Ok(())
    }
}
