//! A site as its visitors and HAProxy's statistics show it.

use std::time::Duration;

use spop_testkit::http::{Client, Response};

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A limit that does not refill while a test runs: a request a minute, ten at once.
pub(crate) const SLOW: [(&str, &str); 2] = [
    ("SPOA_RATE_INTERVAL", "60000000"),
    ("SPOA_RATE_BURST", "600000000"),
];

/// Requests at once of [`SLOW`].
pub(crate) const SLOW_LIMIT: usize = 10;

/// A HAProxy, seen from outside.
pub(crate) struct Site {
    url: String,
    statistics: String,
}

impl Site {
    /// The one whose ports the compose files publish.
    pub(crate) fn published() -> Self {
        Self {
            url: "http://127.0.0.1/".to_owned(),
            statistics: "http://127.0.0.1:8404/;csv".to_owned(),
        }
    }

    /// One whose container's ports are 127.0.0.1's.
    pub(crate) fn bare() -> Self {
        Self {
            url: "http://127.0.0.1:8080/".to_owned(),
            ..Self::published()
        }
    }

    /// One request of the visitor at `address`. All come through the engine's bridge, which is
    /// a proxy that the agents believe.
    pub(crate) async fn get(&self, client: &Client, address: &str) -> anyhow::Result<Response> {
        let request = client.get(&self.url).header("X-Forwarded-For", address);
        request.send().await
    }

    /// The statuses of so many requests of the visitor at `address`, one after the other.
    pub(crate) async fn statuses(&self, address: &str, count: usize) -> Vec<u16> {
        let client = Client::new();
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.get(&client, address).await.unwrap().status);
        }
        statuses
    }

    /// Waits until HAProxy has so many agents whose last check was good, and a web service that
    /// answers.
    pub(crate) async fn ready(&self, agents: usize) {
        until("HAProxy has its agents", async || {
            self.up().await == Some(agents)
        })
        .await;
        until("the web service answers", async || {
            let client = Client::new();
            let answer = self.get(&client, "192.0.2.255").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// How many agents HAProxy calls UP.
    async fn up(&self) -> Option<usize> {
        let answer = Client::new().get(&self.statistics).send().await.ok()?;
        let csv = String::from_utf8_lossy(&answer.body).into_owned();
        let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let head = lines.next()?;
        let status = head.iter().position(|column| *column == "status")?;
        let agents = lines.filter(|line| line[0] == "spoe-agents" && line[1] != "BACKEND");
        Some(agents.filter(|line| line[status] == "UP").count())
    }
}

/// What [`SLOW_LIMIT`] allowed requests and then only denied ones look like.
pub(crate) fn limited(count: usize) -> Vec<u16> {
    let mut statuses = vec![200; SLOW_LIMIT];
    statuses.resize(count, 429);
    statuses
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("gave up waiting: {what}");
    }
}
