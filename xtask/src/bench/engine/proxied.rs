//! The agents behind HAProxy: one of each SPOE engine, with the shipped files.

use anyhow::Result;
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::tools::{Haproxy, wrk};

use super::Plan;
use super::agent::{Agent, Kind};
use super::cpus::Cpus;
use crate::bench::requests::{Turn, Wrk};

/// Clients at once.
pub(super) const CONNECTIONS: u64 = 64;

/// One thread, as all of it is on one CPU; and no log lines, which would go through this
/// process and cost more than the question.
const ONE_THREAD: (&str, &str) = ("log stdout", "    nbthread 1");
/// A request without a timely answer is an error, which wrk counts. All others HAProxy answers
/// itself: a web service would only take CPU time from what is measured.
const ANSWER: (&str, &str) = (
    "#http-request deny deny_status 503",
    "    http-request deny deny_status 503 if { var(txn.rl.error) -m found }\n    \
     http-request deny deny_status 503 unless { var(sess.rl.ip_score) -m found }\n    \
     http-request return status 200",
);
/// Asking nobody. The rule that wants an answer goes, too.
const NO_FILTER: (&str, &str) = ("filter spoe", "    http-request return status 200");

/// A HAProxy with an agent, or without one, and its turns.
pub(super) struct Proxied {
    pub(super) haproxy: String,
    pub(super) agent: Option<Kind>,
    pub(super) turns: Vec<Turn>,
}

/// All rounds; within one, HAProxy after HAProxy, and behind each the agents one after the
/// other.
pub(super) async fn measure(agents: &[Agent], plan: &Plan, cpus: &Cpus) -> Result<Vec<Proxied>> {
    let wrk = Wrk {
        program: &wrk()?,
        connections: CONNECTIONS,
        seconds: plan.haproxy_seconds,
    };
    let mut servers = Vec::new();
    let mut results = Vec::new();
    for haproxy in Haproxy::engines()? {
        let behind = agents.iter().map(Some);
        for agent in std::iter::once(None).chain(behind) {
            let server = start(&haproxy, agent).await?;
            cpus.pin_haproxy(server.process().id())?;
            servers.push((server, agent));
            results.push(Proxied {
                haproxy: haproxy.version().to_owned(),
                agent: agent.map(|agent| agent.kind),
                turns: Vec::new(),
            });
        }
    }
    for round in 1..=plan.haproxy_rounds {
        eprintln!("round {round} of {} through HAProxy", plan.haproxy_rounds);
        for ((server, agent), result) in servers.iter().zip(&mut results) {
            let agent = agent.map(|agent| &agent.process);
            let pin = |id| cpus.pin_wrk(id);
            let turn = Turn::measure(&wrk, &server.url(), server.process(), agent, pin).await?;
            result.turns.push(turn);
        }
    }
    Ok(results)
}

async fn start(haproxy: &Haproxy, agent: Option<&Agent>) -> Result<Server> {
    // With nobody to ask, any address does; and there is no web service in either case.
    let nobody = ([127, 0, 0, 1], 1).into();
    let mut setup = Setup::new(agent.map_or(nobody, |agent| agent.addr), nobody);
    setup.changes = match agent {
        Some(_) => vec![ONE_THREAD, ANSWER],
        None => vec![ONE_THREAD, NO_FILTER],
    };
    Server::start(haproxy, &setup).await
}
