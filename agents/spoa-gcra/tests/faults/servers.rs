//! Servers die, freeze, change roles and come back.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use spop_testkit::process::Signal;
use spop_testkit::valkey::{Server, Setup};
use tokio::time::{Instant, sleep};

use crate::clients::{BURST, SHARDS};
use crate::load::flood;
use crate::promise::{Promise, Times};
use crate::site::{PATIENCE, Site, connection};

const KILLED: Promise = Promise {
    fault: "primary killed",
    guarantee: "Its clients are on the failure policy at once, and on Valkey again as soon as \
        the replica is promoted.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_primary_killed() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let happened = Instant::now();
    site.cluster.node(0).kill();
    site.falls_back(&[0]).await;
    let healed = promotion(&site).await;
    site.judge(&KILLED, Times { happened, healed }).await;
}

const FROZEN: Promise = Promise {
    fault: "primary frozen",
    guarantee: "It still accepts connections and answers nothing. Its clients wait for the \
        decision budget until the agent has noticed, then they are answered at once; they are \
        on Valkey again as soon as the replica is promoted.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_primary_frozen() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let happened = Instant::now();
    site.cluster.node(0).signal(Signal::STOP).unwrap();
    site.falls_back(&[0]).await;
    let healed = promotion(&site).await;
    // It finds out that it is a replica now.
    sleep(Duration::from_millis(500)).await;
    site.cluster.node(0).signal(Signal::CONT).unwrap();
    site.judge(&FROZEN, Times { happened, healed }).await;
}

const PROMOTED: Promise = Promise {
    fault: "replica promoted",
    guarantee: "CLUSTER FAILOVER: for the moment of the handover clients are on the failure \
        policy. Valkey loses no count.",
    excess: BURST,
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_replica_promoted() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let port = i64::from(site.cluster.node(0).port());
    for replica in &site.cluster.nodes()[SHARDS..] {
        let mut replica = connection(replica).await;
        if role(&mut replica).await[2] != Value::Int(port) {
            continue;
        }
        let happened = Instant::now();
        let mut failover = redis::cmd("CLUSTER");
        failover
            .arg("FAILOVER")
            .exec_async(&mut replica)
            .await
            .unwrap();
        let healed = promotion(&site).await;
        return site.judge(&PROMOTED, Times { happened, healed }).await;
    }
    panic!("the first primary has no replica");
}

const RESTARTED: Promise = Promise {
    fault: "primary restarted empty",
    guarantee: "Faster than anybody is promoted: state and scripts are gone. Its clients are on \
        the failure policy until it serves again, and start there with a whole burst.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_primary_restarted_empty() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let happened = Instant::now();
    site.cluster.node(0).restart().await.unwrap();
    site.processes_changed();
    site.falls_back(&[0]).await;
    let healed = serving(&[site.cluster.node(0)]).await;
    site.judge(&RESTARTED, Times { happened, healed }).await;
}

const AWAY: Promise = Promise {
    fault: "whole cluster away and back",
    guarantee: "All clients are on the failure policy, for as long as it takes; the agent's \
        memory does not grow meanwhile.",
    shards: &[0, 1, 2],
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_whole_cluster_away() {
    /// Requests of clients never seen before, in the blackout.
    const REQUESTS: u32 = 20_000;
    /// What an allocator may keep, in bytes.
    const GROWTH: u64 = 4 << 20;

    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let happened = Instant::now();
    for node in site.cluster.nodes() {
        node.kill();
    }
    site.falls_back(&[0, 1, 2]).await;
    let agent = &site.agents[0];
    flood(agent.addr(), 0, REQUESTS).await;
    let before = agent.resident_memory().unwrap();
    flood(agent.addr(), REQUESTS, REQUESTS).await;
    let after = agent.resident_memory().unwrap();
    assert!(after < before + GROWTH, "from {before} to {after} bytes");

    for node in site.cluster.nodes() {
        node.restart().await.unwrap();
    }
    site.processes_changed();
    let healed = serving(&site.cluster.nodes().iter().collect::<Vec<_>>()).await;
    site.judge(&AWAY, Times { happened, healed }).await;
}

/// Waits until a replica has become a primary.
async fn promotion(site: &Site) -> Instant {
    let mut replicas = Vec::new();
    for replica in &site.cluster.nodes()[SHARDS..] {
        replicas.push(connection(replica).await);
    }
    let begin = Instant::now();
    loop {
        for replica in &mut replicas {
            if role(replica).await[0] == Value::BulkString(b"master".to_vec()) {
                return Instant::now();
            }
        }
        assert!(begin.elapsed() < PATIENCE, "no replica is promoted");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn role(server: &mut MultiplexedConnection) -> Vec<Value> {
    redis::cmd("ROLE").query_async(server).await.unwrap()
}

/// Waits until these nodes serve their slots.
async fn serving(nodes: &[&Server]) -> Instant {
    let begin = Instant::now();
    for node in nodes {
        let mut node = connection(node).await;
        loop {
            let mut command = redis::cmd("CLUSTER");
            let info: String = command.arg("INFO").query_async(&mut node).await.unwrap();
            if info.contains("cluster_state:ok") {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{info}");
            sleep(Duration::from_millis(5)).await;
        }
    }
    Instant::now()
}
