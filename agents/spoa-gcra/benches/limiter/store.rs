//! The store in Valkey under load: so many checks at once, each followed by the next.

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spoa_gcra::policy::Policy;
use spoa_gcra::store::valkey::{Config, ValkeyStore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::checks::{PATIENCE, ask, check, connect, default_policy, ready};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Comma-separated URLs, as in VALKEY_NODES
    #[arg(long)]
    nodes: String,

    /// Checks at once
    #[arg(long, default_value_t = 512)]
    in_flight: u32,

    /// The most checks in one pipeline
    #[arg(long, default_value_t = Config::default().batch)]
    batch: usize,

    /// The most pipelines on their way
    #[arg(long, default_value_t = Config::default().pipelines)]
    pipelines: usize,

    /// IPv4 addresses that are checked, at random
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// In ms
    #[arg(long, default_value_t = 300)]
    warmup: u64,

    /// In ms, behind the warm-up
    #[arg(long, default_value_t = 2000)]
    duration: u64,
}

/// What the tasks that ask have in common.
struct Load {
    store: ValkeyStore,
    policy: Arc<Policy>,
    clients: u32,
    answered: AtomicU64,
    ended: AtomicBool,
}

/// How far it is.
struct Progress {
    at: Instant,
    answered: u64,
    cpu: Duration,
}

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let config = Config {
        batch: options.batch,
        pipelines: options.pipelines,
        budget: PATIENCE,
        ..Config::default()
    };
    let load = Arc::new(Load {
        store: connect(&options.nodes, config)?,
        policy: default_policy(),
        clients: options.clients,
        answered: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    ready(&load.store, &load.policy).await?;

    let mut tasks = JoinSet::new();
    for _ in 0..options.in_flight {
        tasks.spawn(load.clone().ask());
    }
    sleep(Duration::from_millis(options.warmup)).await;
    let from = load.progress()?;
    sleep(Duration::from_millis(options.duration)).await;
    let to = load.progress()?;
    load.ended.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }

    let answered = (to.answered - from.answered) as f64;
    println!(
        "{{\"per_second\": {}, \"cpu_us\": {}, \"asked\": {}}}",
        answered / (to.at - from.at).as_secs_f64(),
        1e6 * (to.cpu - from.cpu).as_secs_f64() / answered,
        load.answered.load(Ordering::Relaxed),
    );
    Ok(())
}

impl Load {
    async fn ask(self: Arc<Self>) {
        while !self.ended.load(Ordering::Relaxed) {
            let client = 0x0A00_0000 + fastrand::u32(..self.clients);
            let check = check(Ipv4Addr::from(client), &self.policy, 1);
            if ask(&self.store, check).await.is_ok() {
                self.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                // On a machine that is too busy the connection is lost now and then.
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn progress(&self) -> Result<Progress, Box<dyn Error>> {
        // Of this thread, which does everything; in ns.
        let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
        let running = schedstat.split(' ').next().unwrap_or_default();
        Ok(Progress {
            at: Instant::now(),
            answered: self.answered.load(Ordering::Relaxed),
            cpu: Duration::from_nanos(running.parse()?),
        })
    }
}
