//! The settings that every agent has, as clap reads them.

use std::process::exit;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::log::{Directives, Format};
use crate::serve::worker_threads;
use crate::{AdminAddr, Listen};

/// To be flattened into an agent's own arguments: environment variables, or options of the
/// same name.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Options {
    /// What to do; none: serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to listen: ADDRESS:PORT, HOST:PORT, unix@PATH, abns@NAME or fd@NAME.
    #[arg(long, env, global = true, default_value = "0.0.0.0:9000")]
    pub spoe_addr: Listen,

    /// Where metrics and health are shown: ADDRESS:PORT, HOST:PORT, or off. Unset:
    /// 127.0.0.1:9001, or nowhere if that is in use.
    #[arg(long, env)]
    pub spoa_admin_addr: Option<AdminAddr>,

    /// ms for which health checks fail, at the end, before connections close, 0 to 600000;
    /// more than HAProxy's `inter` x `fall`.
    #[arg(long, env, default_value_t = 0, value_parser = value_parser!(u64).range(..=600_000))]
    pub spoa_lame_duck: u64,

    /// Threads that serve, 1 to 1024; set it to the CPU limit.
    #[arg(long, env, default_value_t = threads(), value_parser = value_parser!(u16).range(1..=1024))]
    pub tokio_worker_threads: u16,

    /// What is logged: off, error, warn, info, debug, trace, or TARGET=LEVEL,…
    #[arg(long, env, default_value_t)]
    pub rust_log: Directives,

    /// How it is logged: text or json.
    #[arg(long, env, default_value_t)]
    pub spoa_log_format: Format,
}

impl Options {
    /// `SPOA_LAME_DUCK`.
    pub fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.spoa_lame_duck)
    }

    /// `SPOA_ADMIN_ADDR`, or its default.
    pub fn admin_addr(&self) -> AdminAddr {
        self.spoa_admin_addr.clone().unwrap_or_default()
    }
}

/// The commands that every agent has.
#[derive(Debug, Clone, Copy, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Ask the agent at SPOE_ADDR whether it is healthy, as HAProxy's `option spop-check` does:
    /// exit code 0 if it is, 1 if not.
    Healthcheck,
}

/// What was typed, and what the environment has. Ends the process, with one line of the agent
/// called `name` and exit code 2, if a value is not acceptable; and for `--help`.
pub fn parse<A: Parser>(name: &str) -> A {
    A::try_parse().unwrap_or_else(|error| {
        if matches!(
            error.kind(),
            ErrorKind::ValueValidation | ErrorKind::InvalidValue
        ) {
            let text = error.to_string();
            let lines = text.lines().take_while(|line| !line.is_empty());
            let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            eprintln!("{name}: {}", line.trim_start_matches("error: "));
            exit(2);
        }
        error.exit()
    })
}

fn threads() -> u16 {
    worker_threads().try_into().unwrap_or(1)
}
