//! The servers that other crates' tests rely on: they start, fail and come back as told.
#![cfg(feature = "e2e")]

use std::time::Duration;

use spop_testkit::process::Signal;
use spop_testkit::valkey::{Cluster, Server};

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
async fn a_server_that_cannot_start_says_why() {
    let error = Server::start_with(&["--no-such-setting", "1"]).await;
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("no-such-setting"), "{error}");
}
