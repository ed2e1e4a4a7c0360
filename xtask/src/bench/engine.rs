//! `cargo xtask bench engine`: what spop-server costs, beside other agents.

pub(super) mod agent;
mod bars;
mod cpus;
mod direct;
mod instructions;
mod page;
mod picture;
mod proxied;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use self::agent::{Agent, Kind};
use self::cpus::Cpus;
use self::direct::Direct;
use self::instructions::Instructions;
use self::proxied::Proxied;
use super::callgrind;
use crate::cargo::{build_bench, build_command};

/// The engine beside an agent on the crate `spop`, and beside one that only copies ids
///
/// Agents with one thread each, as processes of their own, take turns under the same load:
/// first from `spop bench`, which checks every answer, then from wrk through HAProxy 2.6 and
/// 3.2. Ratios are to the agent called ceiling, of the same round. Instructions are
/// callgrind's; they are left out where valgrind is missing.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each turn lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// The agents, in the order of their turns
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum, default_values_t = Kind::ALL)]
    agents: Vec<Kind>,
    /// Only a part of it
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// A rough look in about a minute: short turns, three rounds, one through HAProxy
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    quick: bool,
    /// Put tables and picture into crates/spop-server/PERFORMANCE.md and performance.svg
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Load straight on the agents
    Direct,
    /// Instructions for each NOTIFY
    Instructions,
    /// Requests through HAProxy
    Haproxy,
}

impl Part {
    const ALL: [Self; 3] = [Self::Direct, Self::Instructions, Self::Haproxy];
}

/// How long and how often.
struct Plan {
    turn: Duration,
    warmup: Duration,
    rounds: u64,
    /// wrk counts in whole seconds.
    haproxy_seconds: u64,
    haproxy_rounds: u64,
    /// NOTIFYs in flight while instructions are counted.
    windows: &'static [u16],
}

/// What came out. A part that was left out is empty.
struct Results {
    plan: Plan,
    pinned: String,
    agents: Vec<Kind>,
    direct: Direct,
    instructions: Instructions,
    proxied: Vec<Proxied>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let plan = options.plan();
    let cpus = Cpus::of_this_process();
    eprintln!("Building the agents and the load generator (profile release)");
    let binary = build_bench("spop-server", "engine").await?;
    eprintln!("{}", cpus.explain());

    let mut results = Results {
        pinned: cpus.explain(),
        agents: options.agents.clone(),
        direct: Direct::default(),
        instructions: Instructions::default(),
        proxied: Vec::new(),
        plan,
    };
    if options.has(Part::Direct) {
        let load = build_command("spop-client", "spop").await?;
        let agents = options.start(&binary, &cpus).await?;
        results.direct = Direct::measure(&load, &agents, &results.plan, &cpus).await?;
    }
    if options.has(Part::Instructions) && callgrind::is_here() {
        results.instructions = Instructions::count(&binary, &options.agents, &results.plan).await?;
    }
    if options.has(Part::Haproxy) {
        let agents = options.start(&binary, &cpus).await?;
        results.proxied = proxied::measure(&agents, &results.plan, &cpus).await?;
    }

    println!("{}", page::figures(&results));
    if options.write {
        page::write(&results)?;
    }
    Ok(())
}

impl Options {
    const fn plan(&self) -> Plan {
        let warmup = Duration::from_millis(200);
        if self.quick {
            return Plan {
                turn: Duration::from_millis(200),
                warmup: Duration::from_millis(50),
                rounds: 3,
                haproxy_seconds: 1,
                haproxy_rounds: 1,
                windows: &[16],
            };
        }
        Plan {
            turn: Duration::from_secs(self.seconds),
            warmup,
            rounds: self.rounds,
            haproxy_seconds: self.seconds,
            haproxy_rounds: self.rounds,
            windows: &[1, 16],
        }
    }

    fn has(&self, part: Part) -> bool {
        self.only.contains(&part)
    }

    async fn start(&self, binary: &Path, cpus: &Cpus) -> Result<Vec<Agent>> {
        let mut agents = Vec::new();
        for kind in &self.agents {
            let agent = Agent::start(*kind, binary).await?;
            cpus.pin_agent(agent.process.id())?;
            agents.push(agent);
        }
        Ok(agents)
    }
}
