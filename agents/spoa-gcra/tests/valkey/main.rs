//! The Valkey store against real servers.
//!
//! Nothing here depends on how fast the machine is: budgets are long, quotas that must not
//! refill during a test have intervals of an hour, and what is awaited is awaited for long.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cluster;
mod connects;
mod create_cluster;
mod decides;
mod floods;
mod functions;
mod leases;
mod reach;
mod readdressed;
mod shipped;
mod survives;
mod tls;
mod writes;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::Policy;
use spoa_gcra::store::valkey::{BreakerState, Config, PrimaryState, StoreError, ValkeyStore};
use spoa_gcra::store::{Check, Client, Verdict};
use spop_testkit::valkey::Server;
use tower::ServiceExt;

/// How long something may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: u64 = 3_600_000_000;

fn config() -> Config {
    Config {
        budget: Duration::from_secs(20),
        ..Config::default()
    }
}

/// A store on these comma-separated URLs.
fn store(urls: &str, config: Config) -> ValkeyStore {
    let nodes = urls.split(',').map(|url| url.parse().unwrap()).collect();
    ValkeyStore::connect(nodes, config).unwrap()
}

fn client(n: u32) -> Client {
    Client(IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + n)))
}

fn key(client: Client) -> String {
    format!("gcra:{client}")
}

/// `limit` requests at once, and then hardly any.
fn slow(limit: u64) -> Quota {
    Quota::new(HOUR, limit * HOUR).unwrap()
}

async fn ask(
    store: &ValkeyStore,
    client: Client,
    quota: Quota,
    cost: u64,
) -> Result<Verdict, StoreError> {
    let check = Check {
        client,
        policy: Arc::new(Policy::of_one(quota)),
        cost,
        count: 1,
        deadline: Instant::now() + PATIENCE,
    };
    // Whatever happens to the server, a check never hangs.
    tokio::time::timeout(PATIENCE, store.clone().oneshot(check))
        .await
        .unwrap()
}

async fn allowed(store: &ValkeyStore, client: Client, quota: Quota, cost: u64) -> bool {
    let verdict = ask(store, client, quota, cost).await.unwrap();
    verdict.decision.allowed
}

/// Waits until this client's primary decides.
async fn ready(store: &ValkeyStore, client: Client) {
    let since = Instant::now();
    while let Err(error) = ask(store, client, slow(1), 0).await {
        assert!(since.elapsed() < PATIENCE, "not ready: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the store says of this server, if it is one of its primaries.
fn state_of(store: &ValkeyStore, server: &Server) -> Option<PrimaryState> {
    let port = format!(":{}", server.port());
    let primaries = store.primaries();
    primaries
        .into_iter()
        .find(|primary| primary.node.ends_with(&port))
}

/// Waits until this server's breaker is in this state.
async fn breaker(store: &ValkeyStore, server: &Server, wanted: BreakerState) {
    let since = Instant::now();
    while state_of(store, server).is_none_or(|state| state.breaker != wanted) {
        assert!(since.elapsed() < PATIENCE, "not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Gives the ACL user `agent` these rights.
async fn set_user(server: &Server, rights: &str) {
    let mut command = vec!["acl", "setuser", "agent"];
    command.extend(rights.split(' '));
    assert_eq!(server.cli(&command).await.unwrap(), "OK");
}

/// Makes a cluster of nodes that do not know of it yet, each given with the port of its bus.
async fn form(nodes: &[(Server, String)], host: &str) {
    let (first, _) = nodes.first().unwrap();
    let count = u32::try_from(nodes.len()).unwrap();
    let bound = |n: u32| 16_384 * n / count;
    for (n, (node, bus)) in (0..).zip(nodes) {
        let (from, to) = (bound(n).to_string(), (bound(n + 1) - 1).to_string());
        let epoch = (n + 1).to_string();
        let port = node.port().to_string();
        for (at, command) in [
            (node, &["cluster", "addslotsrange", &from, &to][..]),
            (node, &["cluster", "set-config-epoch", &epoch]),
            (first, &["cluster", "meet", host, &port, bus]),
        ] {
            assert_eq!(at.cli(command).await.unwrap(), "OK");
        }
    }
}

async fn connection(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    connection.set_response_timeout(PATIENCE);
    connection
}

/// A line of `INFO`, as a number.
async fn info(server: &Server, section: &str, field: &str) -> u64 {
    let text = server.cli(&["info", section]).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.unwrap().trim_start_matches(':');
    number.trim().parse().unwrap()
}

/// How many commands this server answered with the error `code`.
async fn errors(server: &Server, code: &str) -> u64 {
    count(server, "errorstats", &format!("errorstat_{code}:count=")).await
}

/// How often this server ran the command.
async fn calls(server: &Server, command: &str) -> u64 {
    count(server, "commandstats", &format!("cmdstat_{command}:calls=")).await
}

/// The number behind `prefix` in a section of `INFO`; 0 if nothing was counted yet.
async fn count(server: &Server, section: &str, prefix: &str) -> u64 {
    let text = server.cli(&["info", section]).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(prefix));
    let number = line.and_then(|line| line.split(',').next());
    number.map_or(0, |number| number.trim().parse().unwrap())
}
