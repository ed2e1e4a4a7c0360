//! `cargo xtask demo`: the rate limiter, asked for more than it allows.

mod load;
mod report;
mod table;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy;
use spop_testkit::http::Client;
use spop_testkit::port;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;

use super::{Options, find_haproxy};
use crate::cargo::{Profile, build_agent};
use load::{Load, Path, Tally};
use table::Table;

/// Requests that a fresh client may send at once.
const BURST: u32 = 20;
/// Of the limit, what is asked for while the demo is left running.
const KEPT_BUSY: [f64; 3] = [0.4, 0.9, 1.2];
/// Requests that the demo sends at once.
const AT_ONCE: u32 = 3 * BURST;

pub(super) async fn run(options: &Options) -> Result<ExitCode> {
    let haproxy = if options.without_haproxy {
        None
    } else {
        Some(find_haproxy().await?)
    };
    let binary = build_agent("spoa-gcra", Profile::Own).await?;

    let decisions = Arc::new(Decisions::default());
    let limit = Limit::new(options.rate);
    let admin = port::free_addr()?;
    let agent = start_agent(&binary, limit, &decisions, admin).await?;
    let live_view = format!("http://{admin}/");
    let mut out = std::io::stdout();
    let (server, _web, path, other) = match &haproxy {
        Some(haproxy) => {
            let web = Web::start().await?;
            let setup = haproxy::Setup::new(agent.addr(), web.addr());
            let server = haproxy::Server::start(haproxy, &setup).await?;
            write!(out, "{}", picture(haproxy, &server, &setup, limit))?;
            let path = |client| Path::through_haproxy(client, server.url());
            // Whose requests are not those of who tries it by hand.
            let (path, other) = (path(Client::new()), path(Client::from([127, 0, 0, 2])));
            (Some(server), Some(web), path, other)
        }
        None => {
            write!(out, "{}", short_picture(&agent, limit))?;
            let path = Path::to_the_agent(agent.addr()).await?;
            (None, None, path.clone(), path)
        }
    };

    writeln!(out, "\n  live view: {live_view}\n")?;

    let shown = show(options, limit, path, &decisions).await?;
    let kept = report::verdict(&shown, limit, server.as_ref())?;
    if options.keep {
        report::keep(server.as_ref(), &agent, &live_view)?;
        keep_busy(other, limit).await;
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The limit as the agent is told it: whole microseconds.
#[derive(Clone, Copy)]
struct Limit {
    interval: u32,
    per_second: f64,
}

impl Limit {
    fn new(rate: u32) -> Self {
        let interval = 1_000_000 / rate;
        Self {
            interval,
            per_second: 1e6 / f64::from(interval),
        }
    }

    /// The most that may pass within `time`.
    fn most(self, time: Duration) -> u64 {
        (f64::from(BURST) + self.per_second * time.as_secs_f64()) as u64
    }
}

/// What the agent says that it decided.
#[derive(Default)]
struct Decisions {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Decisions {
    fn count(&self, line: &str) {
        if line.contains("allowed=true") {
            self.allowed.fetch_add(1, Ordering::Relaxed);
        } else if line.contains("allowed=false") {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn total(&self) -> (u64, u64) {
        (
            self.allowed.load(Ordering::Relaxed),
            self.denied.load(Ordering::Relaxed),
        )
    }
}

async fn start_agent(
    binary: &std::path::Path,
    limit: Limit,
    decisions: &Arc<Decisions>,
    admin: SocketAddr,
) -> Result<Agent> {
    let counted = Arc::clone(decisions);
    agent::Setup::new(binary)
        .set("SPOA_ADMIN_ADDR", admin)
        .set("SPOA_RATE_INTERVAL", limit.interval)
        .set("SPOA_RATE_BURST", limit.interval * BURST)
        // One line for each decision.
        .set("RUST_LOG", "spoa_gcra::decision=debug")
        .on_line(move |line| counted.count(line))
        .start()
        .await
}

fn picture(
    haproxy: &Haproxy,
    server: &haproxy::Server,
    setup: &haproxy::Setup,
    limit: Limit,
) -> String {
    format!(
        "
  client ──HTTP──▶ HAProxy {version}, {url} ──HTTP──▶ web service, {web}
                      │
                     SPOP
                      ▼
                   spoa-gcra, {agent}: {rate:.0} requests/s, {BURST} at once
",
        version = haproxy.version(),
        url = server.url(),
        web = setup.web,
        agent = setup.agent,
        rate = limit.per_second,
    )
}

fn short_picture(agent: &Agent, limit: Limit) -> String {
    format!(
        "
  this command, as HAProxy would ──SPOP──▶ spoa-gcra, {agent}: {rate:.0} requests/s, {BURST} at once
",
        agent = agent.addr(),
        rate = limit.per_second,
    )
}

/// What the demo has to show for itself.
struct Shown {
    tally: Tally,
    /// From before the first request to after the last answer.
    time: Duration,
    /// The agent's own count: allowed, denied.
    decided: (u64, u64),
}

async fn show(options: &Options, limit: Limit, path: Path, decisions: &Decisions) -> Result<Shown> {
    let load = Load::new(path);
    let mut table = Table::new(std::io::stdout(), options.without_haproxy)?;
    let started = Instant::now();

    table.phase(&format!("burst: {AT_ONCE} requests at once"))?;
    load.burst(AT_ONCE).await;
    table.row(started.elapsed(), &load.take(), decisions.total())?;

    let stream_rate = 1.5 * limit.per_second;
    table.phase(&format!("steady stream: {stream_rate:.0} requests/s"))?;
    let stream = load.steady(stream_rate, Duration::from_secs(options.seconds));
    let mut stream = std::pin::pin!(stream);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        tokio::select! {
            () = &mut stream => break,
            _ = second.tick() => {
                table.row(started.elapsed(), &load.take(), decisions.total())?;
            }
        }
    }
    let time = started.elapsed();
    let last = load.take();
    settle(decisions, &load).await;
    if last.requests() > 0 {
        table.row(time, &last, decisions.total())?;
    }
    let tally = load.total();
    table.total(&tally, decisions.total())?;
    Ok(Shown {
        tally,
        time,
        decided: decisions.total(),
    })
}

/// Light traffic for ever, now below the limit and now above it, so that there is something to
/// see.
async fn keep_busy(path: Path, limit: Limit) {
    loop {
        for part in KEPT_BUSY {
            // What is counted is not asked for.
            let load = Load::new(path.clone());
            load.steady(part * limit.per_second, Duration::from_secs(20))
                .await;
        }
    }
}

/// The agent's lines come through a pipe, a moment after its answers.
async fn settle(decisions: &Decisions, load: &Load) {
    for _ in 0..50 {
        let (allowed, denied) = decisions.total();
        if allowed + denied >= load.total().requests() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
