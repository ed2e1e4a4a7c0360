//! `cargo xtask bench haproxy`: what asking the agent costs, seen from in front of HAProxy.

use std::path::Path;

use anyhow::Result;
use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::tools::{Haproxy, wrk};
use spop_testkit::web::Web;

use super::median;
use super::requests::{QUIET, Turn, Wrk};
use crate::cargo::{Profile, build_agent};

/// A request that no agent decided is refused, so that wrk counts it.
const FAIL_CLOSED: (&str, &str) = (
    "#http-request deny deny_status 503",
    "http-request deny deny_status 503 unless { var(txn.rl.ip_score) -m found }",
);
/// Asking nobody.
const NO_FILTER: (&str, &str) = ("filter spoe", "");

/// Requests through a real HAProxy, with the agent and without any SPOE filter, in turns
///
/// For each SPOE engine of HAProxy: closed-loop keep-alive requests from wrk through the
/// shipped files to a small web service, every request allowed. Undecided requests are those
/// that HAProxy's 15 ms ran out for; they are made to fail here, and counted.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each turn lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Clients at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
}

/// One thing that is measured, and what came out.
struct Subject {
    name: String,
    haproxy: Server,
    agent: Option<Agent>,
    turns: Vec<Turn>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let wrk = Wrk {
        program: &wrk()?,
        connections: options.connections,
        seconds: options.seconds,
    };
    let binary = build_agent("spoa-gcra", Profile::Release).await?;
    let web = Web::start().await?;
    let mut subjects = Vec::new();
    for haproxy in Haproxy::engines()? {
        subjects.push(without_agent(&haproxy, &web).await?);
        subjects.push(with_agent(&haproxy, &web, &binary).await?);
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for subject in &mut subjects {
            let (url, haproxy) = (subject.haproxy.url(), subject.haproxy.process());
            let agent = subject.agent.as_ref().map(Agent::process);
            let turn = Turn::measure(&wrk, &url, haproxy, agent, |_| Ok(())).await?;
            subject.turns.push(turn);
        }
    }
    print(&subjects);
    Ok(())
}

async fn without_agent(haproxy: &Haproxy, web: &Web) -> Result<Subject> {
    let mut setup = Setup::new(web.addr(), web.addr());
    setup.changes = vec![QUIET, NO_FILTER];
    Ok(Subject {
        name: format!("{}, no filter", haproxy.version()),
        haproxy: Server::start(haproxy, &setup).await?,
        agent: None,
        turns: Vec::new(),
    })
}

async fn with_agent(haproxy: &Haproxy, web: &Web, binary: &Path) -> Result<Subject> {
    let agent = agent::Setup::new(binary)
        .set("SPOA_RATE_INTERVAL", 1)
        .set("SPOA_RATE_BURST", 1_000_000_000)
        .start()
        .await?;
    let mut setup = Setup::new(agent.addr(), web.addr());
    setup.changes = vec![QUIET, FAIL_CLOSED];
    Ok(Subject {
        name: format!("{}, spoa-gcra", haproxy.version()),
        haproxy: Server::start(haproxy, &setup).await?,
        agent: Some(agent),
        turns: Vec::new(),
    })
}

fn print(subjects: &[Subject]) {
    const WIDTHS: [usize; 6] = [22, 20, 20, 20, 18, 22];
    let line = |name: &str, columns: &[&str]| {
        let columns = columns.iter().zip(WIDTHS);
        let columns = columns.map(|(text, width)| format!(" {text:>width$}"));
        println!("{name:<32}{}", columns.collect::<String>());
    };
    line("HAProxy", &Turn::COLUMNS);
    for subject in subjects {
        let row = Turn::row(&subject.turns);
        line(&subject.name, &row.each_ref().map(String::as_str));
    }
    for [without, with] in subjects.as_chunks().0 {
        let pairs = without.turns.iter().zip(&with.turns);
        let ratio = median(
            pairs
                .map(|(without, with)| with.per_second / without.per_second)
                .collect(),
        );
        println!("{}: {ratio} of the requests/s without a filter", with.name);
    }
}
