//! The `spoa-gcra` command: settings, listener, signals, and an exit code that says which of
//! them failed.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use spoa_gcra::admin::{self, Readiness};
use spoa_gcra::app::{self, App};
use spoa_gcra::policy::{self, Policies, PolicySource, Watch};
use spoa_gcra::settings;
use spoa_gcra::settings::Settings;
use spoa_gcra::startup::{self, StartError};
use spop_server::{Config, serve};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
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
    /// A file of policies, in place of the one that SPOA_CONFIG names.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default). SIGHUP reads the file of policies again.
    Run,
    /// Check the settings and the file of policies, and print what would be in force, without
    /// listening.
    Check,
}

fn after_help() -> String {
    format!(
        "Everything is set by environment variables:\n\n{}\n\
         Exit codes: 0 after a clean stop, 1 for a failure while serving, 2 for a bad setting or \
         file of policies.",
        settings::help_table()
    )
}

/// Why the process ends other than by a signal.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    #[error(transparent)]
    Policies(#[from] policy::Problems),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the runtime with TOKIO_WORKER_THREADS={threads}: {error}")]
    Runtime {
        threads: usize,
        error: std::io::Error,
    },
    #[error("cannot watch the file of policies: {0}")]
    Watch(std::io::Error),
    #[error(transparent)]
    Serve(#[from] spop_server::ServeError),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::Policies(_) | Self::Start(_) => ExitCode::from(2),
            Self::Runtime { .. } | Self::Watch(_) | Self::Serve(_) => ExitCode::FAILURE,
        }
    }
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("spoa-gcra: {line}");
            }
            failure.exit_code()
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    let mut settings = Settings::from_env()?;
    if arguments.config.is_some() {
        settings.config = arguments.config;
    }
    log_to_stderr(&settings);
    for name in &settings.unknown {
        warn!("{name} is set but is no setting of spoa-gcra; see spoa-gcra --help");
    }
    let mut source = settings.policies();
    let policies = source.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime {
            threads: settings.worker_threads,
            error,
        })?;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => runtime.block_on(run(&settings, source, policies)),
        Command::Check => runtime.block_on(check(&settings, &policies)),
    }
}

async fn check(settings: &Settings, policies: &Policies) -> Result<(), Failure> {
    startup::resolve_nodes(settings).await?;
    println!("{}\n{}", settings.summary(), in_force(policies));
    Ok(())
}

async fn run(settings: &Settings, source: PolicySource, policies: Policies) -> Result<(), Failure> {
    startup::resolve_nodes(settings).await?;
    let shown = in_force(&policies);
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let App {
        router, metrics, ..
    } = app::build(settings, Arc::clone(&policies)).map_err(|error| StartError::Valkey {
        nodes: settings.nodes(),
        error,
    })?;
    // From here on SIGHUP does not end the process.
    let hangup = signal(SignalKind::hangup()).map_err(Failure::Watch)?;
    let watch = policy::watch(source, policies, report).map_err(Failure::Watch)?;
    tokio::spawn(reload(watch, hangup));
    let (listener, addr) = startup::listen(settings).await?;
    let admin = startup::listen_admin(settings).await?;
    let config = Config::new()
        .with_observer(metrics.spop.clone())
        .with_handler_timeout(settings.decision_budget + BACKSTOP)
        .with_lame_duck(settings.lame_duck);
    let readiness = Readiness::default();
    let mut begin = format!("spoa-gcra listening on {addr}");
    if let Some((listener, addr)) = admin {
        tokio::spawn(admin::serve(listener, metrics, readiness.clone()));
        begin.push_str(&format!("\nmetrics at http://{addr}/metrics"));
    }
    println!("{begin}\n{}\n{shown}", settings.summary());
    readiness.set(true);
    let stop = async move {
        stop_signal().await;
        readiness.set(false);
    };
    serve(listener, router)
        .with_config(config)
        .with_shutdown(stop)
        .await?;
    info!("stopped");
    Ok(())
}

fn in_force(policies: &Policies) -> String {
    format!("policies:\n{}", policies.summary())
}

/// What came of reading the policies again.
fn report(read: Result<(String, &Policies), policy::Problems>) {
    match read {
        Ok((changes, policies)) => {
            let summary = policies.summary();
            // Nobody may be reading it any more.
            let _ = writeln!(
                std::io::stdout(),
                "policies read again: {changes}\n{summary}"
            );
        }
        Err(problems) => {
            for line in problems.to_string().lines() {
                error!("policies stay as they were: {line}");
            }
        }
    }
}

/// Lives as long as the runtime does, and the watch with it.
async fn reload(watch: Watch, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        info!("SIGHUP: reading the policies again");
        watch.reload();
    }
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
