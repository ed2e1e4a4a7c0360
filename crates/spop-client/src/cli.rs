//! The command line: what can be asked for, where it goes, and how it ends.

mod action;
mod address;
mod argument;
mod bench;
mod conform;
mod notify;
mod ping;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use spop_client::ClientError;

use self::address::Address;

/// Talks to SPOE agents as HAProxy does.
///
/// An SPOE agent answers questions that HAProxy asks while it serves a request, over the
/// protocol SPOP. This command takes HAProxy's place, so that an agent can be tried without
/// one.
#[derive(Debug, Parser)]
#[command(name = "spop", version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Is the agent healthy?
    spop ping 127.0.0.1:9000
  What would it answer if HAProxy asked about a client?
    spop notify 127.0.0.1:9000 check-rate ip_src=192.0.2.7
  How many questions a second can it answer, and how fast?
    spop bench 127.0.0.1:9000
  Does it do all that HAProxy relies on?
    spop conform 127.0.0.1:9000

`spop ping --help` and `spop notify --help` say more.

Exit status:
  0  the agent answered as it should
  1  it did not; one line on standard error says what happened
  2  the command line is wrong";

#[derive(Debug, Subcommand)]
enum Command {
    Ping(ping::Ping),
    Notify(notify::Notify),
    Bench(bench::Bench),
    Conform(conform::Conform),
}

/// Whom to talk to, and for how long to wait.
#[derive(Debug, Args)]
struct Agent {
    /// Where the agent listens: HOST:PORT, or unix:PATH for a Unix socket
    #[arg(value_name = "ADDR")]
    address: Address,

    /// How long to wait for each step: to connect, for each answer
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    timeout: u64,
}

impl Agent {
    const fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.timeout))
    }
}

/// Why a command did not do what it was asked for. Its text is one line.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{address}: {error}{}", advice(.error))]
    Agent {
        address: Address,
        error: ClientError,
    },
    #[error("{address}: {faults}")]
    Bench {
        address: Address,
        faults: bench::Faults,
    },
    #[error("{address}: {}", conform::verdict(.summary))]
    Conform {
        address: Address,
        summary: spop_client::conform::Summary,
    },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(&cli.command, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough of it.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nowhere is left to say that standard error is gone.
            writeln!(io::stderr(), "spop: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(command: &Command, out: &mut impl Write) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Start)?;
    runtime.block_on(async {
        match command {
            Command::Ping(ping) => ping.run(out).await,
            Command::Notify(notify) => notify.run(out).await,
            Command::Bench(bench) => bench.run(out).await,
            Command::Conform(conform) => conform.run(out).await,
        }
    })
}

/// What to do about it, where that is not plain.
fn advice(error: &ClientError) -> &'static str {
    match error {
        ClientError::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "; is an agent listening there?"
        }
        ClientError::Decode(_) => "; is it an SPOE agent?",
        _ => "",
    }
}

/// A duration as people read it.
fn milliseconds(time: Duration) -> impl Display {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
