//! `spoa-gcra run`: listeners, signals, and the server between them.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use spoa_gcra::app::{self, App};
use spoa_gcra::live_view;
use spoa_gcra::metrics::Metrics;
use spoa_gcra::policy::{self, Policies, Watch};
use spoa_gcra::readiness::valkey_was_reached;
use spoa_gcra::startup::{self, StartError};
use spop_server::admin::{Admin, HTML, JSON, PROMETHEUS, Readiness};
use spop_server::{Config, serve};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::Failure;
use super::configuration::Configuration;
use crate::systemd;

/// How much later than the decision budget the engine answers a request by itself. The store's
/// own failure policy comes first; this is for what nobody thought of.
const BACKSTOP: Duration = Duration::from_millis(4);

/// How long requests in flight may take at the end, after the lame duck.
const DRAIN: Duration = Duration::from_secs(5);

pub(super) fn execute(configuration: Configuration) -> Result<(), Failure> {
    configuration.runtime()?.block_on(run(configuration))
}

async fn run(configuration: Configuration) -> Result<(), Failure> {
    let shown = configuration.summary();
    let Configuration {
        settings,
        source,
        policies,
    } = configuration;
    let in_force = settings.in_force();
    startup::resolve_nodes(&settings).await?;
    // From here on SIGHUP does not end the process.
    let hangup = signal(SignalKind::hangup()).map_err(Failure::Watch)?;
    // Before anything goes on beside it: a socket of systemd's is looked up in the
    // environment, and taken out of it.
    let listener = startup::listen(&settings).await?;
    let admin = startup::listen_admin(&settings).await?;
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let App {
        router, metrics, ..
    } = app::build(&settings, Arc::clone(&policies)).map_err(|error| StartError::Valkey {
        nodes: settings.nodes(),
        error,
    })?;
    let spop_addr = listener.endpoint().to_string();
    let listening = format!("listening on {spop_addr}");
    let watch = policy::watch(source, policies, report(listening.clone()));
    tokio::spawn(reload(watch.map_err(Failure::Watch)?, hangup));

    let config = Config::new()
        .with_observer(metrics.spop.clone())
        .with_handler_timeout(settings.decision_budget + BACKSTOP)
        .with_lame_duck(settings.lame_duck)
        .with_drain_timeout(DRAIN);
    let readiness = Readiness::default();
    let mut begin = format!("spoa-gcra {listening}");
    if let Some((listener, addr)) = admin {
        let live_view = live_view::page(&live_view::host_name(), &spop_addr);
        let pages = pages(metrics, in_force, &readiness).page("/", HTML, move || live_view.clone());
        tokio::spawn(pages.serve(listener));
        begin.push_str(&format!(
            "\nlive view at http://{addr}/\nmetrics at http://{addr}/metrics"
        ));
    }
    println!("{begin}\n{shown}");
    readiness.set(true);
    systemd::ready(&listening);
    let stop = async move {
        stop_signal().await;
        systemd::stopping(settings.lame_duck + DRAIN);
        readiness.set(false);
    };
    serve(listener, router)
        .with_config(config)
        .with_shutdown(stop)
        .await?;
    info!("stopped");
    Ok(())
}

/// What operators can ask for.
fn pages(metrics: Metrics, in_force: String, readiness: &Readiness) -> Admin {
    let mut admin = Admin::new(readiness.clone());
    let policies = Arc::clone(&metrics.policies);
    if let Some(valkey) = &metrics.valkey {
        let store = valkey.store.clone();
        admin = admin.ready_if(valkey_was_reached(Arc::clone(&policies), store));
    }
    let document = Arc::clone(&policies);
    let config = move || {
        let policies = policies.load().summary();
        format!("{in_force}\n\npolicies:\n{policies}\n")
    };
    admin
        .page("/metrics", PROMETHEUS, move || metrics.text())
        .page("/config", "text/plain; charset=utf-8", config)
        .page("/policies", JSON, move || document.load().json())
}

/// Says what came of reading the policies again.
fn report(listening: String) -> impl Fn(Result<(String, &Policies), policy::Problems>) {
    move |read| match read {
        Ok((changes, policies)) => {
            let summary = policies.summary();
            // Nobody may be reading it any more.
            let _ = writeln!(io::stdout(), "policies read again: {changes}\n{summary}");
            systemd::ready(&format!("{listening}; policies read again: {changes}"));
        }
        Err(problems) => {
            let problems = problems.to_string();
            for line in problems.lines() {
                error!("policies stay as they were: {line}");
            }
            let first = problems.lines().next().unwrap_or_default();
            systemd::ready(&format!("{listening}; policies stay as they were: {first}"));
        }
    }
}

/// Lives as long as the runtime does, and the watch with it.
async fn reload(watch: Watch, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        info!("SIGHUP: reading the policies again");
        systemd::reloading();
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
