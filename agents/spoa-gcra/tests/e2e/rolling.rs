//! A rolling update: three agents over one Valkey are replaced one after the other, under load,
//! behind the shipped HAProxy files with the timings that they ship with. Every request is
//! decided.
//!
//! Up to HAProxy 3.0 that is not quite so: it goes on using the connections that it has to an
//! agent that is DOWN, so a question may cross the agent's goodbye. Such a request passes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use spop_testkit::agent::Agent;
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::http::{Client, Response};
use spop_testkit::process::Signal;
use spop_testkit::tools::Haproxy;
use spop_testkit::valkey;
use spop_testkit::web::Web;
use tokio::task::JoinHandle;

use crate::site::{PATIENCE, agent, client, until};

/// What the manifests say: longer than HAProxy takes to see two failed checks.
const LAME_DUCK: &str = "12000";

/// What users see of a decision: who made it, or why there is none.
const SHOW: &str = "    http-after-response set-header by %[var(txn.rl.source)]
    http-after-response set-header err %[var(txn.rl.error)]
    default_backend web";

const AGENTS: [&str; 3] = ["agent1", "agent2", "agent3"];
const USERS: u8 = 12;
/// Between two requests of one user.
const PAUSE: Duration = Duration::from_millis(10);
/// Requests between two steps of the update.
const SOME: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_of_three_agents_loses_no_decision() {
    let versions = Haproxy::all().unwrap();
    assert!(!versions.is_empty());
    // At the same time: most of it is waiting for the lame ducks, for 3 x 12 s.
    let updates = versions.iter().map(async |haproxy| {
        let started = Instant::now();
        let tally = update(haproxy).await;
        let (version, took) = (haproxy.version(), started.elapsed().as_secs_f64());
        println!("HAProxy {version}: {tally}; three agents replaced in {took:.1} s");

        assert_eq!(tally.wrong, [""; 0], "{version}");
        if haproxy.has_mux_engine() {
            assert_eq!(tally.undecided.len(), 0, "{version}: {tally}");
        }
        // Lost with the connection (256) or the agent (257); none waited for its timeout.
        let lost = tally.undecided.keys();
        let lost: Vec<_> = lost.filter(|&err| err != "256" && err != "257").collect();
        assert!(lost.is_empty(), "{version}: {tally}");
    });
    join_all(updates).await;
}

/// Replaces all agents, one after the other, with load on them.
async fn update(haproxy: &Haproxy) -> Tally {
    let valkey = valkey::Server::start().await.unwrap();
    let web = Web::start().await.unwrap();
    let url = valkey.url();
    let settings = [
        ("VALKEY_NODES", url.as_str()),
        ("SPOA_LAME_DUCK", LAME_DUCK),
        // Nobody reaches it, so nobody is answered from the denial cache.
        ("SPOA_RATE_INTERVAL", "1"),
        ("SPOA_RATE_BURST", "1000000"),
        // Not how fast a busy machine does it is the question here.
        ("SPOA_DECISION_BUDGET", "1000"),
    ];
    let mut agents = Vec::new();
    for _ in AGENTS {
        agents.push(agent(&settings).start().await.unwrap());
    }
    let addrs: Vec<_> = agents.iter().map(Agent::addr).collect();
    let setup = Setup {
        second_agent: Some(addrs[1]),
        third_agent: Some(addrs[2]),
        timeout: Some(Duration::from_secs(2)),
        changes: vec![("default_backend", SHOW)],
        ..Setup::new(addrs[0], web.addr())
    };
    let server = Server::start(haproxy, &setup).await.unwrap();
    for name in AGENTS {
        until("the agents are up", async || {
            server.last_check_of("spoe-agents", name).await.unwrap() == "L7OK"
        })
        .await;
    }

    let load = Load::start(&server);
    load.more(SOME).await;
    for (name, running) in AGENTS.iter().zip(&mut agents) {
        running.signal(Signal::TERM).unwrap();
        until_status(&server, name, "DOWN").await;
        let early = running.process().exited().unwrap();
        assert_eq!(early, None, "gone before HAProxy knew");
        let ended = running.process().wait(PATIENCE).await.unwrap();
        assert!(ended.success(), "{ended}");
        load.more(SOME).await;

        let addr = running.addr();
        *running = agent(&settings).addr(addr).start().await.unwrap();
        until_status(&server, name, "UP").await;
        load.more(SOME).await;
    }
    load.finish().await
}

async fn until_status(server: &Server, name: &str, status: &str) {
    until(status, async || {
        let said = server.status_of("spoe-agents", name).await.unwrap();
        said.starts_with(status)
    })
    .await;
}

/// Users at work: each sends a request, looks at the answer, and sends the next.
struct Load {
    end: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    users: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let end: Arc<AtomicBool> = Arc::default();
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let user = |number| {
            let (client, url) = (client(20 + number), server.url());
            let (end, tally) = (Arc::clone(&end), Arc::clone(&tally));
            tokio::spawn(work(client, url, end, tally))
        };
        let users = (0..USERS).map(user).collect();
        Self { end, tally, users }
    }

    /// Waits until so many requests more were answered.
    async fn more(&self, requests: usize) {
        let answered = || lock(&self.tally).requests;
        let goal = answered() + requests;
        until("load", async || answered() >= goal).await;
    }

    async fn finish(self) -> Tally {
        self.end.store(true, Ordering::Relaxed);
        for user in self.users {
            user.await.unwrap();
        }
        std::mem::take(&mut lock(&self.tally))
    }
}

async fn work(client: Client, url: String, end: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    while !end.load(Ordering::Relaxed) {
        let answer = client.get(&url).send().await;
        lock(&tally).add(answer.map_err(|error| format!("{error:#}")));
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Tally {
    requests: usize,
    /// By whom.
    decided: BTreeMap<String, usize>,
    /// By HAProxy's reason.
    undecided: BTreeMap<String, usize>,
    /// Not the web service's answer.
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, answer: Result<Response, String>) {
        self.requests += 1;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.wrong.push(error),
        };
        if answer.status != 200 {
            self.wrong.push(answer.status.to_string());
        }
        let shown = |name| answer.header(name).unwrap_or_default().to_owned();
        let count = match shown("by") {
            by if by.is_empty() => self.undecided.entry(shown("err")),
            by => self.decided.entry(by),
        };
        *count.or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |counts: &BTreeMap<String, usize>| counts.values().sum::<usize>();
        let (decided, undecided) = (total(&self.decided), total(&self.undecided));
        write!(f, "{} requests, {decided} decided", self.requests)?;
        write!(
            f,
            " {:?}, {undecided} undecided {:?}",
            self.decided, self.undecided
        )
    }
}
