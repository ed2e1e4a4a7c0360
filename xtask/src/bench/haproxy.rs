//! `cargo xtask bench haproxy`: what asking the agent costs, seen from in front of HAProxy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::tools::{Haproxy, Program, wrk};
use spop_testkit::web::Web;

use super::median;
use crate::cargo::{Profile, build_agent};

/// Not logging: the lines would go through this process and cost more than the question.
const QUIET: (&str, &str) = ("log stdout", "");
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

struct Turn {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Processor µs per request.
    haproxy_cpu: f64,
    agent_cpu: f64,
    /// In percent of the requests.
    undecided: f64,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let wrk = wrk()?;
    let binary = build_agent(Profile::Release).await?;
    let web = Web::start().await?;
    let mut subjects = Vec::new();
    for haproxy in Haproxy::engines()? {
        subjects.push(without_agent(&haproxy, &web).await?);
        subjects.push(with_agent(&haproxy, &web, &binary).await?);
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for subject in &mut subjects {
            let turn = measure(subject, &wrk, &options).await?;
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

async fn measure(subject: &Subject, wrk: &Program, options: &Options) -> Result<Turn> {
    let cpu = || -> Result<(Duration, Duration)> {
        let agent = match &subject.agent {
            Some(agent) => agent.process().cpu_time()?,
            None => Duration::ZERO,
        };
        Ok((subject.haproxy.process().cpu_time()?, agent))
    };
    let before = cpu()?;
    let mut command = wrk.command();
    command
        .args(["-t", "1", "--latency"])
        .args(["-c", &options.connections.to_string()])
        .args(["-d", &format!("{}s", options.seconds)])
        .arg(subject.haproxy.url());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let after = cpu()?;
    let text = String::from_utf8(output.stdout)?;
    let Some(said) = Said::parse(&text) else {
        bail!("wrk said something else than usual:\n{text}");
    };
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / said.requests;
    Ok(Turn {
        per_second: said.per_second,
        p50: said.p50,
        p99: said.p99,
        haproxy_cpu: per_request(after.0 - before.0),
        agent_cpu: per_request(after.1 - before.1),
        undecided: 100.0 * said.failed / said.requests,
    })
}

fn print(subjects: &[Subject]) {
    println!(
        "{:<32} {:>22} {:>20} {:>20} {:>20} {:>18} {:>11}",
        "HAProxy",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "HAProxy CPU µs/req",
        "agent CPU µs/req",
        "undecided"
    );
    for subject in subjects {
        let column =
            |value: &dyn Fn(&Turn) -> f64| median(subject.turns.iter().map(value).collect());
        let undecided = column(&|turn| turn.undecided);
        println!(
            "{:<32} {:>22} {:>20} {:>20} {:>20} {:>18} {:>10.3}%",
            subject.name,
            column(&|turn| turn.per_second),
            column(&|turn| turn.p50.as_secs_f64() * 1e3),
            column(&|turn| turn.p99.as_secs_f64() * 1e3),
            column(&|turn| turn.haproxy_cpu),
            column(&|turn| turn.agent_cpu),
            undecided.middle,
        );
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

/// What wrk prints, as far as it is of use.
struct Said {
    requests: f64,
    per_second: f64,
    failed: f64,
    p50: Duration,
    p99: Duration,
}

impl Said {
    fn parse(text: &str) -> Option<Self> {
        let after = |label: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(label))?;
            line.split_whitespace().next()
        };
        let requests = text
            .lines()
            .find_map(|line| line.split_once(" requests in "))?
            .0;
        let failed = match after("Non-2xx or 3xx responses:") {
            Some(failed) => failed.parse().ok()?,
            None => 0.0,
        };
        Some(Self {
            requests: requests.trim().parse().ok()?,
            per_second: after("Requests/sec:")?.parse().ok()?,
            failed,
            p50: duration(after("50%")?).ok()?,
            p99: duration(after("99%")?).ok()?,
        })
    }
}

/// `650.00us`, `1.25ms`, `2.00s`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.trim_start_matches(digits) {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        other => bail!("what is {other:?}"),
    };
    let number: f64 = digits.parse().context("a time of wrk")?;
    Ok(Duration::try_from_secs_f64(number * unit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let said = Said::parse(
            "Running 3s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
             Latency Distribution\n     50%  650.00us\n     75%    1.00ms\n     99%    1.25ms\n  \
             98765 requests in 3.00s, 12.00MB read\n  Non-2xx or 3xx responses: 12\n\
             Requests/sec:  32921.67\nTransfer/sec:      4.00MB\n",
        )
        .unwrap();
        assert_eq!(
            (said.requests, said.per_second, said.failed),
            (98765.0, 32921.67, 12.0)
        );
        assert_eq!(said.p50, Duration::from_micros(650));
        assert_eq!(said.p99, Duration::from_micros(1250));
    }
}
