//! Nothing adds up: an agent of its own process, churned by peers of all kinds, is as it was
//! once they are gone, and its memory does not grow meanwhile.
//!
//! `SPOP_CHURN_SECONDS` says for how long, 120 by default; `SPOP_CHURN_SEED` draws other peers.
//! `--nocapture` shows the table as it grows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agent;
mod good;
mod question;
mod rude;
mod sample;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use agent::Agent;
use sample::{Sample, check_memory};

/// For anything that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most connections at a time.
const CROWD: usize = 200;

/// Samples, four quarters of them.
const SAMPLES: u32 = 24;

/// What the agent is to use of one core. The peers use about as much.
const LOAD: f64 = 0.15;

#[test]
fn churn_leaves_nothing_behind() {
    if env::var_os(agent::CHILD).is_some() {
        return agent::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(churn());
}

async fn churn() {
    let time = Duration::from_secs(setting("SPOP_CHURN_SECONDS", 120));
    let seed = setting("SPOP_CHURN_SEED", 1);
    println!("{time:?}, seed {seed}");
    let agent = Agent::start().await;
    let start = Sample::of(&agent).await;
    println!("{}\n{start}", Sample::HEAD);

    let mut rng = Rng::with_seed(seed);
    let mut pace = Pace::new(&agent);
    let mut crowd = JoinSet::new();
    let mut checked = 0;
    let mut samples = Vec::new();
    let begin = Instant::now();
    for step in 1..=SAMPLES {
        let until = begin + time * step / SAMPLES;
        while Instant::now() < until {
            sleep(pace.pause(&agent).mul_f64(2.0 * rng.f64())).await;
            if crowd.len() < CROWD {
                crowd.spawn(play(agent.address(), rng.fork()));
            }
            while let Some(ended) = crowd.try_join_next() {
                checked += ended.unwrap();
            }
        }
        let sample = Sample::of(&agent).await;
        println!("{sample}");
        agent.must_be_silent();
        assert!(sample.threads <= start.threads, "a thread too many");
        samples.push(sample);
    }
    while let Some(ended) = crowd.join_next().await {
        checked += ended.unwrap();
    }
    println!("{checked} answers to good peers, each once and right");
    assert_ne!(checked, 0);

    let gone = Instant::now();
    loop {
        let end = Sample::of(&agent).await;
        let as_it_was = (end.descriptors, end.tasks) == (start.descriptors, start.tasks);
        if as_it_was && end.counts.agree() {
            println!("{end}");
            break;
        }
        assert!(gone.elapsed() < PATIENCE, "begin: {start:?}, end: {end:?}");
        sleep(Duration::from_millis(100)).await;
    }
    check_memory(&samples);
    agent.must_be_silent();
}

/// One connection; gives the number of answers that were checked.
async fn play(address: std::net::SocketAddr, mut rng: Rng) -> u64 {
    let seed = rng.get_seed();
    if rng.u8(0..10) < 4 {
        return good::play(address, &mut rng).await;
    }
    match rng.u8(0..8) {
        0 => good::check_health(address).await,
        _ => {
            let frames = rude::play(address, &mut rng).await;
            assert!(frames.is_ok(), "{frames:?}, seed {seed}");
        }
    }
    0
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The time from a connection to the next, such that the agent has the [`LOAD`] it is to have.
struct Pace {
    pause: Duration,
    measured: Instant,
    cpu: Duration,
}

impl Pace {
    fn new(agent: &Agent) -> Self {
        Self {
            pause: Duration::from_millis(20),
            measured: Instant::now(),
            cpu: agent.cpu_time(),
        }
    }

    fn pause(&mut self, agent: &Agent) -> Duration {
        let elapsed = self.measured.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let cpu = agent.cpu_time();
            let load = (cpu - self.cpu).as_secs_f64() / elapsed.as_secs_f64();
            // At most 250 a second: each may keep a port for a minute.
            let pause = self.pause.mul_f64((load / LOAD).clamp(0.8, 1.25));
            self.pause = pause.clamp(Duration::from_millis(4), Duration::from_millis(250));
            self.measured = Instant::now();
            self.cpu = cpu;
        }
        self.pause
    }
}
