//! A site as its visitors and HAProxy's statistics show it.

use std::time::Duration;

use spop_testkit::http::{Client, Response};

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the compose files publish HAProxy's ports.
const SITE: &str = "http://127.0.0.1/";
const STATISTICS: &str = "http://127.0.0.1:8404/;csv";

/// A limit that does not refill while a test runs: a request a minute, ten at once.
pub(crate) const SLOW: [(&str, &str); 2] = [
    ("SPOA_RATE_INTERVAL", "60000000"),
    ("SPOA_RATE_BURST", "600000000"),
];

/// Requests at once of [`SLOW`].
pub(crate) const SLOW_LIMIT: usize = 10;

/// One request of the visitor at `address`. All come through the engine's bridge, which is a
/// proxy that the agents believe.
pub(crate) async fn get(client: &Client, address: &str) -> anyhow::Result<Response> {
    let request = client.get(SITE).header("X-Forwarded-For", address);
    request.send().await
}

/// The statuses of so many requests of the visitor at `address`, one after the other.
pub(crate) async fn statuses(address: &str, count: usize) -> Vec<u16> {
    let client = Client::new();
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(&client, address).await.unwrap().status);
    }
    statuses
}

/// What [`SLOW_LIMIT`] allowed requests and then only denied ones look like.
pub(crate) fn limited(count: usize) -> Vec<u16> {
    let mut statuses = vec![200; SLOW_LIMIT];
    statuses.resize(count, 429);
    statuses
}

/// Waits until HAProxy has so many agents whose last check was good, and the web service.
pub(crate) async fn ready(agents: usize) {
    until("HAProxy has its agents and the web service", async || {
        up("spoe-agents").await == agents && up("web").await == 1
    })
    .await;
    // Up before it has an address, as nothing has shown the contrary.
    until("the web service answers", async || {
        let client = Client::new();
        get(&client, "192.0.2.255")
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// How many servers of a backend HAProxy calls UP.
pub(crate) async fn up(backend: &str) -> usize {
    let Ok(answer) = Client::new().get(STATISTICS).send().await else {
        return 0;
    };
    let csv = String::from_utf8_lossy(&answer.body).into_owned();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let Some(head) = lines.next() else { return 0 };
    let status = head.iter().position(|column| *column == "status").unwrap();
    let servers = lines.filter(|line| line[0] == backend && line[1] != "BACKEND");
    servers.filter(|line| line[status] == "UP").count()
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
