//! `cargo xtask bench limiter`: what a decision costs, the agent's part and Valkey's.

mod agents;
mod attack;
mod batching;
mod command;
mod cpu;
mod instructions;
mod memory;
mod page;
mod picture;
mod primaries;
mod servers;
mod start;
mod store;
mod throughput;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use spop_testkit::valkey;

use self::attack::Attack;
use self::batching::Batching;
use self::cpu::Cpu;
use self::instructions::Instructions;
use self::memory::Memory;
use self::primaries::Primaries;
use self::start::Start;
use self::throughput::Throughput;
use self::traces::{Traced, Traces};
use super::callgrind;
use super::cpus::Cpus;
use super::notifies::{Asking, Shape, Turn};
use crate::cargo::{Profile, build_agent, build_bench, build_command};
use crate::page::load_average;

/// The limiter on a real Valkey, beside valkey-benchmark with the same script
///
/// Every comparison is made in turns, round after round, in this one run: of valkey-benchmark,
/// of the store's own client and of the agent, on the same server; of agents with and without
/// Valkey, with and without the denial cache, with one primary and with three. Instructions are
/// callgrind's; they are left out where valgrind is missing.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each turn lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Only a part of it
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// Put tables and picture into agents/spoa-gcra/PERFORMANCE.md and performance.svg
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Decisions a second through one primary
    Throughput,
    /// CPU time of the agent for each decision, with and without Valkey
    Cpu,
    /// Instructions for each decision
    Instructions,
    /// Instructions for each decision, with traces (Cargo feature `otel`) and without
    Traces,
    /// Many checks in one write, and one in each
    Batching,
    /// One client that does not stop, with and without the denial cache
    Attack,
    /// Bytes for each client and connection
    Memory,
    /// One primary and three
    Primaries,
    /// From the start of the agent to its first answer
    Start,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Throughput,
        Self::Cpu,
        Self::Instructions,
        Self::Traces,
        Self::Batching,
        Self::Attack,
        Self::Memory,
        Self::Primaries,
        Self::Start,
    ];
}

/// Addresses that ask in turn: enough that all are within their limit.
const CLIENTS: u32 = 65_536;

/// Many requests at once: connections as HAProxy has them, each with nearly as much in flight
/// as HAProxy allows.
const MANY: Shape = Shape::new(32, 16);

/// What every part works with.
struct Bench {
    /// spoa-gcra.
    agent: PathBuf,
    /// `spop`, which asks agents.
    spop: PathBuf,
    /// The program of `agents/spoa-gcra/benches/limiter`.
    limiter: PathBuf,
    /// The program of `crates/spop-server/benches/engine`.
    engine: PathBuf,
    /// Of the machine, before anything was started.
    load_average: String,
    /// What the Valkey server says its version is.
    valkey: String,
    cpus: Cpus,
    turn: Duration,
    warmup: Duration,
    rounds: u64,
}

/// What came out. A part that was left out is `None`.
#[derive(Default)]
struct Results {
    throughput: Option<Throughput>,
    cpu: Option<Cpu>,
    instructions: Option<Instructions>,
    traces: Option<Traces>,
    batching: Option<Batching>,
    attack: Option<Attack>,
    memory: Option<Memory>,
    primaries: Option<Primaries>,
    start: Option<Start>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let has = |part| options.only.contains(&part);
    let traced = match has(Part::Traces) && callgrind::is_here() {
        true => Some(Traced::build().await?),
        false => None,
    };
    let bench = Bench::prepare(&options).await?;
    eprintln!("{}", bench.explain());
    let mut results = Results::default();
    if has(Part::Throughput) {
        results.throughput = Some(Throughput::measure(&bench).await?);
    }
    if has(Part::Cpu) {
        results.cpu = Some(Cpu::measure(&bench).await?);
    }
    if has(Part::Instructions) && callgrind::is_here() {
        results.instructions = Some(Instructions::count(&bench).await?);
    }
    if let Some(traced) = traced {
        results.traces = Some(Traces::count(&bench, &traced).await?);
    }
    if has(Part::Batching) {
        results.batching = Some(Batching::measure(&bench).await?);
    }
    if has(Part::Attack) {
        results.attack = Some(Attack::measure(&bench).await?);
    }
    if has(Part::Memory) {
        results.memory = Some(Memory::measure(&bench).await?);
    }
    if has(Part::Primaries) {
        results.primaries = Some(Primaries::measure(&bench).await?);
    }
    if has(Part::Start) {
        results.start = Some(Start::measure(&bench).await?);
    }

    let figures = page::figures(&bench, &results);
    println!("{figures}");
    if options.write {
        page::write(&figures, &results)?;
    }
    Ok(())
}

impl Bench {
    async fn prepare(options: &Options) -> Result<Self> {
        let load_average = load_average();
        let agent = build_agent("spoa-gcra", Profile::Release).await?;
        eprintln!("Building what asks it (profile release)");
        Ok(Self {
            load_average,
            agent,
            spop: build_command("spop-client", "spop").await?,
            limiter: build_bench("spoa-gcra", "limiter").await?,
            engine: build_bench("spop-server", "engine").await?,
            valkey: servers::version(&valkey::Server::start().await?).await?,
            cpus: Cpus::of_this_process(),
            turn: Duration::from_secs(options.seconds),
            warmup: Duration::from_millis(300),
            rounds: options.rounds,
        })
    }

    /// A sentence about where things run.
    fn explain(&self) -> String {
        match self.cpus.numbers() {
            [first, second, third, ..] => format!(
                "Valkey is pinned to CPU {first}, agents to CPU {second}, what asks them to CPU \
                 {third}."
            ),
            [first, second] => format!(
                "Valkey is pinned to CPU {first}, all else to CPU {second}: agents share it with \
                 what asks them."
            ),
            _ => "There is one CPU only, which all share.".to_owned(),
        }
    }

    fn pin_server(&self, process: u32) -> Result<()> {
        self.cpus.pin(process, 0)
    }

    fn pin_agent(&self, process: u32) -> Result<()> {
        self.cpus.pin(process, 1)
    }

    /// What asks agents or servers.
    fn pin_load(&self, process: u32) -> Result<()> {
        let third = self.cpus.numbers().len() > 2;
        self.cpus.pin(process, if third { 2 } else { 1 })
    }

    /// The numbers of the rounds, told as they come.
    fn rounds(&self, part: &str) -> impl Iterator<Item = u64> {
        (1..=self.rounds).inspect(move |round| {
            eprintln!("{part}: round {round} of {}", self.rounds);
        })
    }

    /// One turn of `spop bench` on an agent.
    async fn ask(
        &self,
        agent: SocketAddr,
        process: u32,
        shape: Shape,
        further: &[&str],
    ) -> Result<Turn> {
        let asking = Asking {
            program: &self.spop,
            agent,
            process,
            shape,
            warmup: self.warmup,
            duration: self.turn,
        };
        // As long as the budget of the agents here: see `agents::start`.
        let further: Vec<&str> = ["--timeout", "5000"]
            .iter()
            .chain(further)
            .copied()
            .collect();
        Turn::measure(&asking, &further, |id| self.pin_load(id)).await
    }
}
