//! What a test sets up: a web service, HAProxy in front of it, agents beside it.

use std::net::SocketAddr;
use std::time::Duration;

use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy::{self, Server};
use spop_testkit::http::{Client, Response};
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;

/// A limit that does not refill while a test runs: a request a minute, five at once.
pub(crate) const SLOW: [(&str, &str); 2] = [
    ("SPOA_RATE_INTERVAL", "60000000"),
    ("SPOA_RATE_BURST", "300000000"),
];

/// Requests at once of [`SLOW`].
pub(crate) const SLOW_LIMIT: usize = 5;

/// How long anything may take that is only a question of time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Client, HAProxy, agents and web service, all of which end with it.
pub(crate) struct Site {
    pub(crate) haproxy: Server,
    pub(crate) agents: Vec<Agent>,
    _web: Web,
}

impl Site {
    /// One agent with these settings.
    pub(crate) async fn start(haproxy: &Haproxy, settings: &[(&str, &str)]) -> Self {
        Self::with_agents(haproxy, vec![agent(settings).start().await.unwrap()]).await
    }

    /// One or two agents that run already.
    pub(crate) async fn with_agents(haproxy: &Haproxy, agents: Vec<Agent>) -> Self {
        let web = Web::start().await.unwrap();
        let addr = |index: usize| agents.get(index).map(Agent::addr);
        let setup = haproxy::Setup {
            second_agent: addr(1),
            // What is answered is the question here, not how fast a busy machine does it.
            timeout: Some(Duration::from_secs(2)),
            ..haproxy::Setup::new(addr(0).unwrap(), web.addr())
        };
        Self {
            haproxy: Server::start(haproxy, &setup).await.unwrap(),
            agents,
            _web: web,
        }
    }

    /// One request.
    pub(crate) async fn get(&self, client: &Client) -> Response {
        client.get(self.haproxy.url()).send().await.unwrap()
    }

    /// One request with a header.
    pub(crate) async fn get_with(&self, client: &Client, name: &str, value: &str) -> Response {
        let request = client.get(self.haproxy.url()).header(name, value);
        request.send().await.unwrap()
    }

    /// The statuses of `count` requests, one after the other.
    pub(crate) async fn statuses(&self, client: &Client, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.get(client).await.status);
        }
        statuses
    }

    /// The lines of HAProxy's log in which the agent gave no answer.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        let mut lines = self.haproxy.log();
        lines.retain(|line| line.contains(" err=") && !line.contains(" err=-"));
        lines
    }
}

/// The agent under test, each decision logged.
pub(crate) fn agent(settings: &[(&str, &str)]) -> agent::Setup {
    let setup = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
        .set("RUST_LOG", "info,spoa_gcra::decision=debug");
    settings
        .iter()
        .fold(setup, |setup, (name, value)| setup.set(name, value))
}

/// What `SLOW_LIMIT` allowed requests and then only denied ones look like.
pub(crate) fn limited(count: usize) -> Vec<u16> {
    let mut statuses = vec![200; SLOW_LIMIT];
    statuses.resize(count, 429);
    statuses
}

/// A client at 127.0.0.`last`.
pub(crate) fn client(last: u8) -> Client {
    Client::from([127, 0, 0, last])
}

/// Every engine there is. Never none.
pub(crate) fn engines() -> Vec<Haproxy> {
    let engines = Haproxy::engines().unwrap();
    assert!(!engines.is_empty());
    engines
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("gave up waiting: {what}");
    }
}

/// Where nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    spop_testkit::port::free_addr().unwrap()
}
