//! What can be typed. Each command is a module of its name.

mod check;
mod completions;
mod configuration;
mod healthcheck;
mod man;
mod print_config;
mod print_haproxy_config;
mod run;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use spoa_gcra::policy;
use spoa_gcra::settings;
use spoa_gcra::startup::StartError;
use spoa_process::traces::TracesError;
use spop_server::claim_inherited;

use configuration::Configuration;
use print_haproxy_config::Refused;

/// An exact, distributed rate limiter for HAProxy: GCRA over Valkey.
///
/// HAProxy asks over SPOP with the message `check-rate`; the agent answers with variables such
/// as `sess.<prefix>.ip_score`, 0 to let the request pass and 100 to deny it.
#[derive(Parser)]
#[command(version, after_help = after_help())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

/// Of the commands that read policies, before the command or after it.
#[derive(clap::Args, Clone)]
struct Config {
    /// A file of policies, in place of the one that SPOA_CONFIG names.
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default). SIGHUP reads the file of policies again.
    Run(Config),
    Check(check::Options),
    Healthcheck(healthcheck::Options),
    PrintConfig(print_config::Options),
    // Boxed: it has many.
    PrintHaproxyConfig(Box<print_haproxy_config::Options>),
    Completions(completions::Options),
    /// Print the manual page: `spoa-gcra man | man -l -`.
    Man,
}

fn after_help() -> String {
    format!(
        "Everything is set by environment variables:\n\n{}\n{EXIT_CODES}",
        settings::help_table()
    )
}

/// For the help and the manual page.
const EXIT_CODES: &str = "Exit codes: 0 after a clean stop, 1 for a failure while serving, for \
                          an agent that is not healthy and for what `check --reach` does not \
                          reach, 2 for a bad setting, option or file of policies.";

/// Why the process ends other than by a signal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    #[error(transparent)]
    Policies(#[from] policy::Problems),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the runtime with TOKIO_WORKER_THREADS={threads}: {error}")]
    Runtime { threads: usize, error: io::Error },
    #[error("cannot watch the file of policies: {0}")]
    Watch(io::Error),
    #[error(transparent)]
    Serve(#[from] spop_server::ServeError),
    #[error(transparent)]
    Unhealthy(#[from] spoa_process::Unhealthy),
    #[error("out of reach: {0}, see the lines above")]
    OutOfReach(usize),
    #[error(transparent)]
    Haproxy(#[from] Refused),
    #[error("cannot print it: {0}")]
    Print(io::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Policies(_)
            | Self::Traces(_)
            | Self::Start(_)
            | Self::Haproxy(_) => ExitCode::from(2),
            Self::Runtime { .. }
            | Self::Watch(_)
            | Self::Serve(_)
            | Self::Unhealthy(_)
            | Self::OutOfReach(_)
            | Self::Print(_) => ExitCode::FAILURE,
        }
    }
}

/// Does what was typed.
pub(crate) fn execute(Arguments { command, config }: Arguments) -> Result<(), Failure> {
    let load = |own: Config| Configuration::load(own.file.or(config.file));
    match command.unwrap_or(Command::Run(Config { file: None })) {
        Command::Run(own) => {
            // While this is the only thread: traces have one, too.
            claim_inherited();
            run::execute(load(own)?)
        }
        Command::Check(options) => check::execute(options.reach, &load(options.config)?),
        Command::Healthcheck(options) => healthcheck::execute(options),
        Command::PrintConfig(options) => print_config::execute(&options),
        Command::PrintHaproxyConfig(options) => {
            let configuration = load(options.config.clone())?;
            print_haproxy_config::execute(&options, &configuration)
        }
        Command::Completions(options) => completions::execute(&options),
        Command::Man => man::execute(),
    }
}

/// To standard output, whose reader may have seen enough.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}
