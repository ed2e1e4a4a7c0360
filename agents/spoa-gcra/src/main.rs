//! The `spoa-gcra` command: settings, listener, signals, and an exit code that says which of
//! them failed.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use spoa_gcra::settings::Settings;
use spoa_gcra::startup::{self, StartError};
use spoa_gcra::{app, settings};
use spop_server::{Config, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// How much later than the decision budget the engine answers a request by itself. The store's
/// own failure policy comes first; this is for what nobody thought of.
const BACKSTOP: Duration = Duration::from_millis(4);

/// An exact, distributed rate limiter for HAProxy: GCRA over Valkey.
///
/// HAProxy asks over SPOP with the message `check-rate`; the agent answers with variables such
/// as `sess.<prefix>.ip_score`, 0 to let the request pass and 100 to deny it.
#[derive(Parser)]
#[command(version, after_help = after_help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default).
    Run,
    /// Check the settings and print what would be in force, without listening.
    Check,
}

fn after_help() -> String {
    format!(
        "Everything is set by environment variables:\n\n{}\n\
         Exit codes: 0 after a clean stop, 1 for a failure while serving, 2 for a bad setting.",
        settings::help_table()
    )
}

/// Why the process ends other than by a signal.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the runtime with TOKIO_WORKER_THREADS={threads}: {error}")]
    Runtime {
        threads: usize,
        error: std::io::Error,
    },
    #[error(transparent)]
    Serve(#[from] spop_server::ServeError),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::Start(_) => ExitCode::from(2),
            Self::Runtime { .. } | Self::Serve(_) => ExitCode::FAILURE,
        }
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::Run);
    match start(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("spoa-gcra: {failure}");
            failure.exit_code()
        }
    }
}

fn start(command: &Command) -> Result<(), Failure> {
    let settings = Settings::from_env()?;
    log_to_stderr(&settings);
    for name in &settings.unknown {
        warn!("{name} is set but is no setting of spoa-gcra; see spoa-gcra --help");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime {
            threads: settings.worker_threads,
            error,
        })?;
    match command {
        Command::Run => runtime.block_on(run(&settings)),
        Command::Check => runtime.block_on(check(&settings)),
    }
}

async fn check(settings: &Settings) -> Result<(), Failure> {
    startup::resolve_nodes(settings).await?;
    println!("{}", settings.summary());
    Ok(())
}

async fn run(settings: &Settings) -> Result<(), Failure> {
    startup::resolve_nodes(settings).await?;
    let router = app::router(settings).map_err(|error| StartError::Valkey {
        nodes: settings.nodes(),
        error,
    })?;
    let (listener, addr) = startup::listen(settings).await?;
    println!("spoa-gcra listening on {addr}\n{}", settings.summary());
    let config = Config::new()
        .with_handler_timeout(settings.decision_budget + BACKSTOP)
        .with_lame_duck(settings.lame_duck);
    serve(listener, router)
        .with_config(config)
        .with_shutdown(stop_signal())
        .await?;
    info!("stopped");
    Ok(())
}

/// The first SIGTERM or SIGINT. A process that cannot hear one of them lives on the other.
async fn stop_signal() {
    let heard = async |kind: SignalKind, name: &str| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
            info!("{name}: failing health checks, answering what is in flight, then ending");
        }
        Err(error) => {
            warn!(%error, "cannot listen for {name}");
            std::future::pending().await
        }
    };
    tokio::select! {
        () = heard(SignalKind::terminate(), "SIGTERM") => {}
        () = heard(SignalKind::interrupt(), "SIGINT") => {}
    }
}

fn log_to_stderr(settings: &Settings) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
