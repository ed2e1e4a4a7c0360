//! A server goes on, but not as it was: scripts gone, values spoilt, memory full, clock set.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use spop_testkit::valkey::Setup;
use tokio::time::{Instant, sleep};

use crate::clients::{BURST, SHARDS};
use crate::promise::{Promise, Times};
use crate::site::{Site, connection};

const FLUSHED: Promise = Promise {
    fault: "scripts flushed",
    guarantee: "SCRIPT FLUSH: the script is sent along with the next request; nobody notices.",
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_scripts_flushed() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let mut valkey = connection(site.cluster.node(0)).await;
    let happened = Instant::now();
    for _ in 0..30 {
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut valkey)
            .await
            .unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    assert!(info(&mut valkey, "errorstats").await.contains("NOSCRIPT"));
    let healed = Instant::now();
    site.judge(&FLUSHED, Times { happened, healed }).await;
}

/// What a foreign program might leave in a client's key, and whether the client then counts
/// as never seen. If not, it counts as having spent everything.
const POISONS: [(&str, bool); 6] = [
    ("inf", false),
    ("nan", true),
    ("9999999999999999", false),
    ("-inf", true),
    ("no number", true),
    ("", true),
];

const POISONED: Promise = Promise {
    fault: "values poisoned",
    guarantee: "What is no number or lies in the past counts as no value (one burst each time; \
        here five times, a list among them). What lies too far ahead denies its client once, \
        for one interval at most (here twice).",
    excess: 5 * BURST,
    denials: 2,
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_values_poisoned() {
    /// Every client asks meanwhile.
    const PAUSE: Duration = Duration::from_millis(250);

    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let mut valkey = connection(site.cluster.node(0)).await;
    let keys: Vec<String> = site
        .clients
        .iter()
        .filter(|client| client.shard == 0)
        .map(|client| client.key())
        .collect();
    let happened = Instant::now();
    for (value, _) in POISONS {
        for key in &keys {
            redis::cmd("SET")
                .arg(key)
                .arg(value)
                .exec_async(&mut valkey)
                .await
                .unwrap();
        }
        sleep(PAUSE).await;
    }
    for key in &keys {
        let mut list = redis::pipe();
        list.atomic().del(key).lpush(key, "value");
        list.exec_async(&mut valkey).await.unwrap();
    }
    sleep(PAUSE).await;
    let healed = Instant::now();
    let forgotten = POISONS.iter().filter(|(_, forgotten)| *forgotten).count() + 1;
    assert_eq!(POISONED.excess as usize, forgotten * BURST as usize);
    site.judge(&POISONED, Times { happened, healed }).await;
}

const EVICTED: Promise = Promise {
    fault: "memory full, volatile-ttl",
    guarantee: "A flood of keys evicts those that have the least debt; a client whose key goes \
        gains at most one burst.",
    excess: BURST,
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_memory_full_evicting() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let mut valkey = connection(site.cluster.node(0)).await;
    let tag = site
        .clients
        .iter()
        .find(|client| client.shard == 0)
        .unwrap()
        .key();
    let happened = Instant::now();
    // It counts as used memory, and would fill meanwhile.
    set(&mut valkey, "repl-backlog-size", "16kb").await;
    let used = number(&info(&mut valkey, "memory").await, "used_memory:");
    set(&mut valkey, "maxmemory-policy", "volatile-ttl").await;
    set(&mut valkey, "maxmemory", &(used + (192 << 10)).to_string()).await;
    // Clients with a debt of one request or two, all in one slot.
    for batch in 0..150 {
        let mut flood = redis::pipe();
        for number in 0..200 {
            flood
                .cmd("SET")
                .arg(format!("{{{tag}}}:{batch}:{number}"))
                .arg("1")
                .arg("PX");
            flood.arg(100 + number % 100).ignore();
        }
        flood.exec_async(&mut valkey).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    assert!(number(&info(&mut valkey, "stats").await, "evicted_keys:") > 0);
    set(&mut valkey, "maxmemory", "0").await;
    let healed = Instant::now();
    site.judge(&EVICTED, Times { happened, healed }).await;
}

const REFUSED: Promise = Promise {
    fault: "memory full, noeviction",
    guarantee: "Valkey refuses to write (OOM). What it denies it denies; whom it would admit \
        the failure policy answers.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_memory_full_refusing() {
    let site = Site::start(Setup::new(SHARDS, 1)).await;
    let mut valkey = connection(site.cluster.node(0)).await;
    let happened = Instant::now();
    set(&mut valkey, "maxmemory", "1mb").await;
    site.falls_back(&[0]).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(info(&mut valkey, "errorstats").await.contains("OOM"));
    set(&mut valkey, "maxmemory", "0").await;
    let healed = Instant::now();
    site.judge(&REFUSED, Times { happened, healed }).await;
}

const STEPPED: Promise = Promise {
    fault: "server clock stepped",
    guarantee: "An hour ahead: one burst. An hour back: each client counts as having spent \
        everything and is denied once, for one interval at most.",
    excess: BURST,
    denials: 1,
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_clock_stepped() {
    const HOUR: i64 = 3_600_000_000;
    let setup = Setup {
        clocks: true,
        ..Setup::new(SHARDS, 1)
    };
    let site = Site::start(setup).await;
    let clock = site.cluster.node(0).clock().unwrap();
    let happened = Instant::now();
    clock.set(HOUR).unwrap();
    sleep(Duration::from_millis(1500)).await;
    clock.set(0).unwrap();
    let healed = Instant::now();
    sleep(Duration::from_millis(1500)).await;
    site.judge(&STEPPED, Times { happened, healed }).await;
}

async fn info(valkey: &mut MultiplexedConnection, section: &str) -> String {
    let mut command = redis::cmd("INFO");
    command.arg(section).query_async(valkey).await.unwrap()
}

/// A line's number.
fn number(info: &str, field: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap().trim().parse().unwrap()
}

async fn set(valkey: &mut MultiplexedConnection, setting: &str, value: &str) {
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg(setting).arg(value);
    command.exec_async(valkey).await.unwrap();
}
