//! The agent's settings: environment variables, or options of the same name, checked before
//! anything listens.

use std::fmt;
use std::thread::available_parallelism;

use clap::Parser;
use clap::error::ErrorKind;
use spoa_ip_reputation::lists::Sources;
use spop_server::Endpoint;
use tracing_subscriber::EnvFilter;

/// Unless `SPOA_ADMIN_ADDR` says otherwise.
pub(crate) const ADMIN_ADDR: &str = "127.0.0.1:9001";

/// A score for each client's address, from lists of networks, for HAProxy.
///
/// HAProxy asks over SPOP with the message `check-ip`; the agent answers with the variables
/// `sess.<prefix>.ip_score` and `txn.<prefix>.ip_score`. SIGHUP reads the lists again; SIGTERM
/// and SIGINT end it.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where to listen: ADDRESS:PORT, unix@PATH, abns@NAME or fd@NAME.
    #[arg(long, env, global = true, default_value = "0.0.0.0:9000")]
    pub(crate) spoe_addr: Endpoint,

    /// Files of networks and their scores, 0 to 100: SCORE=FILE,SCORE=FILE,… Unset: none, and
    /// every address has score 0.
    #[arg(long, env, default_value = "", hide_default_value = true)]
    pub(crate) spoa_ip_lists: Sources,

    /// Where metrics and health are shown: ADDRESS:PORT, HOST:PORT, or off. Unset:
    /// 127.0.0.1:9001, or nowhere if that is in use.
    #[arg(long, env)]
    pub(crate) spoa_admin_addr: Option<String>,

    /// ms for which health checks fail, at the end, before connections close, 0 to 600000;
    /// more than HAProxy's `inter` x `fall`.
    #[arg(long, env, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=600_000))]
    pub(crate) spoa_lame_duck: u64,

    /// Threads that serve, 1 to 1024; set it to the CPU limit.
    #[arg(long, env, default_value_t = cpus(), value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) tokio_worker_threads: u16,

    /// What is logged: off, error, warn, info, debug, trace, or TARGET=LEVEL,…
    #[arg(long, env, default_value = "warn", value_parser = log_directives)]
    pub(crate) rust_log: String,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Ask the agent at SPOE_ADDR whether it is healthy, as HAProxy's `option spop-check` does:
    /// exit code 0 if it is, 1 if not.
    Healthcheck,
}

const AFTER_HELP: &str = "Exit codes: 0 after a clean stop, 1 for a failure while serving and for \
                          an agent that is not healthy, 2 for a bad setting or list.";

impl Settings {
    /// Read and checked. Ends the process, with one line, if one is not acceptable.
    pub(crate) fn of_this_process() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            if error.kind() == ErrorKind::ValueValidation {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                eprintln!("spoa-ip-reputation: {}", line.trim_start_matches("error: "));
                std::process::exit(2);
            }
            error.exit()
        })
    }
}

/// What is printed at the start, below the line that says where it listens.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  TOKIO_WORKER_THREADS  {}", self.tokio_worker_threads)?;
        write!(f, "  RUST_LOG              {}", self.rust_log)
    }
}

fn cpus() -> u16 {
    let cpus = available_parallelism().map_or(1, |cpus| cpus.get().min(1024));
    cpus.try_into().unwrap_or(1)
}

fn log_directives(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    let text = if text.is_empty() { "warn" } else { text };
    EnvFilter::builder().parse(text)?;
    Ok(text.to_owned())
}
