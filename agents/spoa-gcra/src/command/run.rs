//! `spoa-gcra run`: listeners, signals, and the server between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use spoa_gcra::app::{self, App};
use spoa_gcra::live_view;
use spoa_gcra::metrics::Metrics;
use spoa_gcra::policy::{self, Policies, Watch};
use spoa_gcra::readiness::valkey_was_reached;
use spoa_gcra::startup::{self, StartError};
use spoa_gcra::top::{Names, Top};
use spoa_process::log::Log;
use spoa_process::systemd;
use spop_server::Config;
use spop_server::admin::{Admin, HTML, JSON, PROMETHEUS};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use super::Failure;
use super::configuration::Configuration;

/// How much later than the decision budget the engine answers a request by itself. The store's
/// own failure policy comes first; this is for what nobody thought of.
const BACKSTOP: Duration = Duration::from_millis(4);

pub(super) fn execute(configuration: Configuration) -> Result<(), Failure> {
    let runtime = configuration.runtime()?;
    let ended = runtime.block_on(run(configuration));
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    ended
}

async fn run(configuration: Configuration) -> Result<(), Failure> {
    let shown = configuration.summary();
    let Configuration {
        mut settings,
        source,
        policies,
        log,
        traces,
    } = configuration;
    let in_force = settings.in_force();
    startup::resolve_nodes(&settings).await?;
    // From here on SIGHUP does not end the process.
    let hangup = signal(SignalKind::hangup()).map_err(Failure::Watch)?;
    let listening = spoa_process::listen(&settings.listen, &settings.admin)
        .await
        .map_err(StartError::from)?
        .with_traces(traces);
    if listening.admin_addr().is_none() {
        // Nobody can ask, so nobody's address is kept.
        settings.top = Names::Off;
    }
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let App {
        router,
        mut metrics,
        top,
        ..
    } = app::build(&settings, Arc::clone(&policies)).map_err(|error| StartError::Valkey {
        nodes: settings.nodes(),
        error,
    })?;
    let mut start = format!("listening on {}", listening.addr());
    let watch = policy::watch(source, policies, report(start.clone(), log));
    let watch = watch.map_err(Failure::Watch)?;
    metrics.stale = watch.stale();
    tokio::spawn(reload(watch, hangup));

    let config = Config::new()
        .with_observer(metrics.spop.clone())
        .with_handler_timeout(settings.decision_budget + BACKSTOP)
        .with_lame_duck(settings.lame_duck);
    start.insert_str(0, "spoa-gcra ");
    if let Some(addr) = listening.admin_addr() {
        start.push_str(&format!(
            "\nlive view at http://{addr}/\nmetrics at http://{addr}/metrics"
        ));
    }
    let start = format!("{start}\n{shown}");
    let live_view = live_view::page(&live_view::host_name(), &listening.addr());
    let admin =
        pages(listening.admin(), metrics, top, in_force).page("/", HTML, move || live_view.clone());
    let served = listening.serve(router, config, admin, log, &start);
    Ok(served.await?)
}

/// What operators can ask for.
fn pages(mut admin: Admin, metrics: Metrics, top: Top, in_force: String) -> Admin {
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
        .page("/top", JSON, move || top.json(Instant::now()))
}

/// Says what came of reading the policies again.
fn report(listening: String, log: Log) -> impl Fn(Result<(String, &Policies), policy::Problems>) {
    move |read| match read {
        Ok((changes, policies)) => {
            let summary = policies.summary();
            log.announce(&format!("policies read again: {changes}\n{summary}"));
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
