//! The `spoa-ip-reputation` command: from settings to listeners and signals, and an exit code
//! that says how it ended.

#![forbid(unsafe_code)]

mod healthcheck;
mod settings;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use settings::{Command, Settings};
use spoa_ip_reputation::check_ip::{self, Reputation};
use spoa_ip_reputation::lists::Lists;
use spoa_ip_reputation::metrics;
use spoa_ip_reputation::watch::{Stamps, watch};
use spop_server::admin::{Admin, Counters, PROMETHEUS, Readiness};
use spop_server::{Config, ServeError, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// Begins the name of each metric.
const PREFIX: &str = "spoa_ip_reputation";

fn main() -> ExitCode {
    let settings = Settings::of_this_process();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.rust_log))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let threads = settings.tokio_worker_threads.into();
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    // What fails before there is an agent is for the operator to mend.
    let ended = runtime.context("cannot start").map_err(|error| (error, 2));
    let ended = ended.and_then(|runtime| {
        runtime.block_on(async {
            let Some(Command::Healthcheck) = settings.command else {
                let agent = start(settings).await.map_err(|error| (error, 2))?;
                return agent.await.map_err(|error| (error.into(), 1));
            };
            healthcheck::ask(settings.spoe_addr)
                .await
                .map_err(|error| (error, 1))
        })
    });
    let Err((failure, code)) = ended else {
        return ExitCode::SUCCESS;
    };
    eprintln!("spoa-ip-reputation: {failure:#}");
    ExitCode::from(code)
}

/// Reads the lists, listens, and says so. What is returned serves until SIGTERM or SIGINT.
async fn start(settings: Settings) -> Result<impl IntoFuture<Output = Result<(), ServeError>>> {
    // From here on these do not end the process by themselves.
    let hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let stamps = Stamps::of(&settings.spoa_ip_lists);
    let lists = Lists::read(&settings.spoa_ip_lists).context("SPOA_IP_LISTS")?;
    let shown = format!("{settings}\n{lists}");
    let reputation = Arc::new(Reputation::new(lists));

    let admin = admin_listener(settings.spoa_admin_addr.as_deref()).await?;
    let listener = settings.spoe_addr.bind().await.context("SPOE_ADDR")?;
    println!("spoe agent listening on {}\n{shown}", listener.endpoint());

    let counters = Arc::new(Counters::default());
    let config = Config::new()
        .with_observer(counters.clone())
        .with_lame_duck(Duration::from_millis(settings.spoa_lame_duck));
    let ready = Readiness::default();
    ready.set(true);
    if let Some(listener) = admin {
        println!("metrics at http://{}/metrics", listener.local_addr()?);
        let reputation = Arc::clone(&reputation);
        let page = move || counters.text(PREFIX) + &metrics::text(PREFIX, &reputation);
        let admin = Admin::new(ready.clone()).page("/metrics", PROMETHEUS, page);
        tokio::spawn(admin.serve(listener));
    }
    let router = check_ip::router(Arc::clone(&reputation));
    tokio::spawn(watch(
        reputation,
        settings.spoa_ip_lists,
        stamps,
        hangup,
        report,
    ));
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping: health checks fail, what is in flight is answered");
        ready.set(false);
    };
    Ok(serve(listener, router)
        .with_config(config)
        .with_shutdown(stop))
}

/// `None`: it is off, or nobody has set it and the default is in use, as by another agent.
async fn admin_listener(addr: Option<&str>) -> Result<Option<TcpListener>> {
    if addr == Some("off") {
        return Ok(None);
    }
    match TcpListener::bind(addr.unwrap_or(settings::ADMIN_ADDR)).await {
        Err(error) if addr.is_none() => {
            warn!(%error, "going on without metrics; set SPOA_ADMIN_ADDR to a free port, or off");
            Ok(None)
        }
        listener => Ok(Some(listener.context("SPOA_ADMIN_ADDR: cannot listen")?)),
    }
}

/// What came of reading the lists again.
fn report(read: Result<&Lists>) {
    match read {
        // Nobody may be there to see it.
        Ok(lists) => drop(writeln!(io::stdout(), "{lists}")),
        Err(error) => error!("lists stay as they were: {error:#}"),
    }
}
