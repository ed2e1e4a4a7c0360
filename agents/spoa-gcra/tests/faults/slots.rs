//! Hash slots move from one primary to another while their clients ask.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use spop_testkit::tools::Valkey;
use spop_testkit::valkey::{Server, Setup};
use tokio::time::{Instant, sleep};

use crate::clients::{BURST, SHARDS};
use crate::promise::{Promise, Times};
use crate::site::{PATIENCE, Site, connection};

const KEY_BY_KEY: Promise = Promise {
    fault: "slots moved key by key",
    guarantee: "CLUSTER SETSLOT and MIGRATE: redirections are followed, nobody notices. Clients \
        with several limits are on the failure policy until their slot has moved, because \
        Valkey answers TRYAGAIN to commands of several keys meanwhile.",
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_slots_moved_key_by_key() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let (mut source, mut target) = ends(&site).await;
    let (source_id, target_id) = (id(&mut source).await, id(&mut target).await);
    let happened = Instant::now();
    for slot in slots(&site) {
        set_slot(&mut target, slot, &["IMPORTING", &source_id]).await;
        set_slot(&mut source, slot, &["MIGRATING", &target_id]).await;
    }
    sleep(Duration::from_millis(500)).await;
    for slot in slots(&site) {
        migrate(&mut source, site.cluster.node(1), slot).await;
        for node in [&mut target, &mut source] {
            set_slot(node, slot, &["NODE", &target_id]).await;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let healed = Instant::now();
    sleep(Duration::from_millis(500)).await;
    site.judge(&KEY_BY_KEY, Times { happened, healed }).await;
}

const AT_ONCE: Promise = Promise {
    fault: "slots moved at once",
    guarantee: "CLUSTER MIGRATESLOTS, from Valkey 9 on: the old primary pauses for the moment of \
        the handover, in which clients may be on the failure policy. No count is lost.",
    excess: BURST,
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_slots_moved_at_once() {
    let setup = Setup {
        valkey: Some(Valkey::from_9_0().unwrap()),
        ..Setup::new(SHARDS, 1)
    };
    let site = Site::start(setup).await;
    let (mut source, mut target) = ends(&site).await;
    let target_id = id(&mut target).await;
    let happened = Instant::now();
    let mut command = redis::cmd("CLUSTER");
    command.arg("MIGRATESLOTS");
    for slot in slots(&site) {
        command.arg("SLOTSRANGE").arg(slot).arg(slot);
        command.arg("NODE").arg(&target_id);
    }
    command.exec_async(&mut source).await.unwrap();
    moved(&mut source).await;
    let healed = Instant::now();
    sleep(Duration::from_millis(500)).await;
    site.judge(&AT_ONCE, Times { happened, healed }).await;
}

/// From the first primary to the second.
async fn ends(site: &Site) -> (MultiplexedConnection, MultiplexedConnection) {
    let (source, target) = (site.cluster.node(0), site.cluster.node(1));
    (connection(source).await, connection(target).await)
}

/// The slots of half of the first primary's clients.
fn slots(site: &Site) -> Vec<u16> {
    let clients = site.clients.iter().filter(|client| client.shard == 0);
    let mut slots: Vec<u16> = clients.map(|client| client.slot).step_by(2).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

async fn id(node: &mut MultiplexedConnection) -> String {
    let mut command = redis::cmd("CLUSTER");
    command.arg("MYID").query_async(node).await.unwrap()
}

async fn set_slot(node: &mut MultiplexedConnection, slot: u16, how: &[&str]) {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SETSLOT").arg(slot).arg(how);
    command.exec_async(node).await.unwrap();
}

/// Moves the slot's keys, all that there are.
async fn migrate(source: &mut MultiplexedConnection, target: &Server, slot: u16) {
    loop {
        let mut command = redis::cmd("CLUSTER");
        command.arg("GETKEYSINSLOT").arg(slot).arg(100);
        let keys: Vec<String> = command.query_async(source).await.unwrap();
        if keys.is_empty() {
            return;
        }
        let mut command = redis::cmd("MIGRATE");
        command.arg("127.0.0.1").arg(target.port()).arg("").arg(0);
        command.arg(5000).arg("KEYS").arg(keys);
        command.exec_async(source).await.unwrap();
    }
}

/// Waits until every migration has succeeded.
async fn moved(source: &mut MultiplexedConnection) {
    let begin = Instant::now();
    loop {
        let mut command = redis::cmd("CLUSTER");
        command.arg("GETSLOTMIGRATIONS");
        let migrations: Vec<HashMap<String, Value>> = command.query_async(source).await.unwrap();
        let done = Value::BulkString(b"success".to_vec());
        if migrations
            .iter()
            .all(|migration| migration["state"] == done)
        {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{migrations:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
