//! The servers that other crates' tests rely on: they start, fail and come back as told.
#![cfg(feature = "e2e")]

use std::time::Duration;

use spop_testkit::process::Signal;
use spop_testkit::valkey::{Cluster, Server, Setup};

#[tokio::test]
async fn a_server_is_killed_and_comes_back_empty_on_its_port() {
    let server = Server::start().await.unwrap();
    server.cli(&["set", "key", "value"]).await.unwrap();
    assert_eq!(server.cli(&["get", "key"]).await.unwrap(), "value");

    server.kill();
    assert!(server.cli(&["ping"]).await.is_err());

    let url = server.url();
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.cli(&["get", "key"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_frozen_server_accepts_but_does_not_answer() {
    let server = Server::start().await.unwrap();
    server.signal(Signal::STOP).unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(300), server.cli(&["ping"])).await;
    assert!(answer.is_err(), "a stopped process answered");
    server.signal(Signal::CONT).unwrap();
    assert_eq!(server.cli(&["ping"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_cluster_serves_every_slot_and_survives_a_restart() {
    let cluster = Cluster::start(3).await.unwrap();
    assert_eq!(cluster.urls().split(',').count(), 3);
    for key in ["gcra:192.0.2.1", "gcra:192.0.2.2", "gcra:192.0.2.3"] {
        let primary = cluster.primary_of(key).await.unwrap();
        assert_eq!(primary.cli(&["set", key, "1"]).await.unwrap(), "OK");
    }
    cluster.node(1).restart().await.unwrap();
    cluster.settled().await.unwrap();
}

#[tokio::test]
async fn clients_of_a_cluster_with_links_are_sent_through_them() {
    let mut setup = Setup::new(3, 0);
    setup.links = true;
    let cluster = Cluster::start_with(setup).await.unwrap();
    let owner = cluster.primary_of("key").await.unwrap();
    let index = cluster
        .nodes()
        .iter()
        .position(|node| node.port() == owner.port());
    let link = cluster.link(index.unwrap());
    let other = cluster
        .nodes()
        .iter()
        .find(|node| node.port() != owner.port());
    let moved = other.unwrap().cli(&["get", "key"]).await.unwrap();
    assert!(moved.ends_with(&link.addr().to_string()), "{moved}");
    let slots = owner.cli(&["cluster", "slots"]).await.unwrap();
    assert!(
        slots.contains("127.0.1.1") && !slots.contains("127.0.0.1"),
        "{slots}"
    );

    // Nodes do not need them.
    link.cut();
    cluster.settled().await.unwrap();
}

#[tokio::test]
async fn each_node_has_a_clock_that_can_be_stepped() {
    let mut setup = Setup::new(3, 0);
    setup.clocks = true;
    let cluster = Cluster::start_with(setup).await.unwrap();
    let hour = 3_600_000_000;
    cluster.node(0).clock().unwrap().set(hour).unwrap();
    let time = async |node: usize| -> i64 {
        let time = cluster
            .node(node)
            .cli(&["eval", "return redis.call('TIME')[1]", "0"]);
        time.await.unwrap().parse().unwrap()
    };
    let ahead = time(0).await - time(1).await;
    assert!((3590..3610).contains(&ahead), "{ahead} s");
    cluster.node(0).clock().unwrap().set(0).unwrap();
    let ahead = time(0).await - time(1).await;
    assert!((-10..10).contains(&ahead), "{ahead} s");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = Server::start_with(&["--no-such-setting", "1"]).await;
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("no-such-setting"), "{error}");
}
