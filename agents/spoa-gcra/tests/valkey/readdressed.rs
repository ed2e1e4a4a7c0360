//! A cluster whose nodes come back at other addresses, as containers do.

use std::time::{Duration, Instant};

use spop_testkit::port;
use spop_testkit::valkey::Server;
use tokio::time::sleep;

use super::create_cluster::{PASSWORD, ask, said, script_at};
use super::{PATIENCE, client, config, ready, store};

const BEFORE: &str = "127.0.10.1";
const AFTER: &str = "127.0.20.1";
const CLIENTS: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_have_other_addresses_are_introduced_again() {
    let nodes = cluster().await;
    for node in &nodes {
        move_to(node, AFTER).await;
    }
    // Nobody finds anybody now. What they still say of the cluster is not to be relied on.
    let places = places(&nodes, [AFTER; 3]);
    let introduced = script_at(&places, &[]).await;
    assert_eq!(
        said(&introduced),
        "The nodes are not a whole cluster: introducing them to each other.\nThe 3 nodes are a cluster.\n"
    );
    // Each of them tells where all are, itself included.
    for node in &nodes {
        for row in told_by(node).await {
            assert!(places.contains(&row), "{row} is not among {places:?}");
        }
    }
    let again = script_at(&places, &[]).await;
    assert_eq!(said(&again), "The 3 nodes are a cluster already.\n");
}

/// The others take note of its new address; the node itself goes on telling the old one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_of_its_old_address_does_not_unsettle_those_that_work() {
    let nodes = cluster().await;
    move_to(&nodes[0], AFTER).await;
    let wrong = format!("{BEFORE}:{}", nodes[0].port());
    let right = format!("{AFTER}:{}", nodes[0].port());
    let since = Instant::now();
    for other in &nodes[1..] {
        while !told_by(other).await.contains(&right) {
            assert!(since.elapsed() < PATIENCE);
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(told_by(&nodes[0]).await.contains(&wrong));

    // Found from that very node.
    let seeds =
        places(&nodes, [AFTER, BEFORE, BEFORE]).map(|place| format!("redis://:{PASSWORD}@{place}"));
    let store = store(&seeds.join(","), config());
    for n in 0..CLIENTS {
        ready(&store, client(n)).await;
    }
    // Whose connections are closed has the map read again, from anybody.
    for _ in 0..30 {
        let before = store.map_renewals();
        ask(&nodes[1], &["client", "kill", "type", "normal"]).await;
        let since = Instant::now();
        while store.map_renewals() == before {
            assert!(since.elapsed() < PATIENCE);
            sleep(Duration::from_millis(1)).await;
        }
        let primaries = store.primaries();
        let mut names = primaries.iter().map(|primary| &*primary.node);
        assert!(names.all(|name| name != wrong), "{primaries:?}");
    }
    for n in 0..CLIENTS {
        ready(&store, client(n)).await;
    }
}

/// A cluster of three at [`BEFORE`].
async fn cluster() -> [Server; 3] {
    let nodes = [node().await, node().await, node().await];
    said(&script_at(&places(&nodes, [BEFORE; 3]), &[]).await);
    nodes
}

async fn node() -> Server {
    let bus = port::free().unwrap().to_string();
    let cluster = [
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus],
        ["--cluster-node-timeout", "5000"],
        ["--cluster-require-full-coverage", "no"],
        ["--requirepass", PASSWORD],
        ["--primaryauth", PASSWORD],
    ];
    Server::start_with(&[cluster.as_flattened(), &at(BEFORE)].concat())
        .await
        .unwrap()
}

/// Where a node listens, beside 127.0.0.1, and by which the others know it.
fn at(address: &str) -> [&str; 5] {
    [
        "--bind",
        "127.0.0.1",
        address,
        "--bind-source-addr",
        address,
    ]
}

async fn move_to(node: &Server, address: &str) {
    node.restart_with(&at(address)).await.unwrap();
}

fn places(nodes: &[Server; 3], addresses: [&str; 3]) -> [String; 3] {
    let mut nodes = nodes.iter();
    addresses.map(|address| format!("{address}:{}", nodes.next().unwrap().port()))
}

/// Where the node says that it and the others are.
async fn told_by(node: &Server) -> Vec<String> {
    let rows = ask(node, &["cluster", "nodes"]).await;
    let address = |row: &str| {
        let (address, _) = row.split(' ').nth(1)?.split_once('@')?;
        Some(address.to_owned())
    };
    rows.lines().filter_map(address).collect()
}
