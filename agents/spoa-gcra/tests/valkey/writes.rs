//! What is written: nothing by a denial, nothing for longer than it matters, no garbage.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::{Limit, LimitId, Policy};
use spoa_gcra::store::Check;
use spoa_gcra::store::valkey::Config;
use spop_testkit::valkey::Server;
use tower::ServiceExt;

use super::{HOUR, PATIENCE, allowed, ask, client, config, info, key, ready, slow, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_writes_nothing() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    assert!(allowed(&store, client(1), slow(2), 2).await);

    let key = key(client(1));
    let state = async || {
        (
            server.cli(&["get", &key]).await.unwrap(),
            server.cli(&["pexpiretime", &key]).await.unwrap(),
            info(&server, "persistence", "rdb_changes_since_last_save").await,
        )
    };
    let before = state().await;
    for cost in [1, 2, 3, 1_000_000, 0] {
        for _ in 0..20 {
            assert_eq!(allowed(&store, client(1), slow(2), cost).await, cost == 0);
        }
    }
    assert_eq!(state().await, before);
    // What was compared does change when something is written.
    assert!(allowed(&store, client(1), slow(3), 1).await);
    let after = state().await;
    assert_ne!(after.0, before.0);
    assert!(after.2 > before.2);
}

/// A server and its replica, which hears of nothing but what is written.
async fn replicated() -> (Server, Server) {
    let silence = ["--repl-ping-replica-period", "3600"];
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let server = Server::start_with(&[silence, at_once].concat())
        .await
        .unwrap();
    let port = server.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port])
        .await
        .unwrap();
    let since = Instant::now();
    loop {
        let text = replica.cli(&["info", "replication"]).await.unwrap();
        if text.contains("master_link_status:up") {
            return (server, replica);
        }
        assert!(since.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_denial_no_byte_is_replicated() {
    let (server, replica) = replicated().await;
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let limit = |number, quota| {
        let id = LimitId::new(NonZeroU32::new(number).unwrap());
        Limit::named(&number.to_string(), id, quota)
    };
    let small_and_large = vec![limit(1, slow(2)), limit(2, slow(9))];
    let policy = Arc::new(Policy::new("of tests", small_and_large).unwrap());
    let ask = async |cost, count| {
        let check = Check {
            client: client(1),
            policy: Arc::clone(&policy),
            cost,
            count,
            deadline: Instant::now() + PATIENCE,
        };
        store.clone().oneshot(check).await.unwrap()
    };
    let sent = async || info(&server, "replication", "master_repl_offset").await;
    assert_eq!(ask(1, 3).await.granted, 2);
    assert!(allowed(&store, client(1), slow(2), 2).await);

    let before = sent().await;
    for (cost, count) in [(1, 1), (1, 5), (3, 1), (10, 2), (1_000_000, 1), (0, 1)] {
        let verdict = ask(cost, count).await;
        assert_eq!(verdict.decision.allowed, cost == 0);
        assert_eq!(allowed(&store, client(1), slow(2), cost).await, cost == 0);
    }
    assert_eq!(sent().await, before);

    // A request that passes is heard of.
    assert!(allowed(&store, client(2), slow(1), 1).await);
    assert!(sent().await > before);
    let since = Instant::now();
    while replica.cli(&["exists", &key(client(2))]).await.unwrap() != "1" {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let keys = ["gcra:{10.0.0.1}:1", "gcra:{10.0.0.1}:2", "gcra:10.0.0.1"];
    for key in keys {
        let of_both = [&server, &replica].map(|node| async { node.cli(&["get", key]).await });
        let [own, copy] = of_both;
        assert_eq!(own.await.unwrap(), copy.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_kept_while_it_matters_and_no_longer_than_the_cap() {
    let server = Server::start().await.unwrap();
    let long = store(&server.url(), config());
    let short = store(
        &server.url(),
        Config {
            ttl: Duration::from_secs(600),
            ..config()
        },
    );
    ready(&long, client(0)).await;
    ready(&short, client(0)).await;
    let ttl = async |n| -> i64 {
        let ttl = server.cli(&["pttl", &key(client(n))]).await.unwrap();
        ttl.parse().unwrap()
    };

    let minute = Quota::new(60_000_000, 600_000_000).unwrap();
    assert!(allowed(&long, client(1), minute, 2).await);
    assert!((60_001..=120_001).contains(&ttl(1).await));
    assert!(allowed(&long, client(2), slow(5), 1).await);
    assert!((1_700_000..=1_800_000).contains(&ttl(2).await));
    assert!(allowed(&short, client(3), slow(5), 1).await);
    assert!((500_000..=600_000).contains(&ttl(3).await));
    // A question leaves nothing behind.
    assert!(allowed(&long, client(4), slow(5), 0).await);
    assert_eq!(ttl(4).await, -2);
}

/// Values that the script never writes and that count as none.
const EMPTY: &[&str] = &[
    "set KEY nan",
    "set KEY -nan",
    "set KEY -inf",
    "set KEY -5",
    "set KEY nonsense",
    "set KEY ",
    "set KEY 1.5",
    "hset KEY field 1",
    "lpush KEY 1",
    "sadd KEY 1",
];

/// Values that it never writes either, and that would deny for ever.
const FAR: &[&str] = &[
    "set KEY inf",
    "set KEY 1e300",
    "set KEY 9999999999999999",
    "set KEY 0x7fffffffffffffff",
];

async fn poison(server: &Server, command: &str, key: &str) {
    let command = command.replace("KEY", key);
    let words: Vec<&str> = command.split(' ').collect();
    let said = server.cli(&words).await.unwrap();
    assert!(["OK", "1"].contains(&said.as_str()), "{command}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_counts_as_no_state() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    for (n, command) in (1..).zip(EMPTY) {
        poison(&server, command, &key(client(n))).await;
        for expected in [true, true, false, false] {
            let allowed = allowed(&store, client(n), slow(2), 1).await;
            assert_eq!(allowed, expected, "{command}");
        }
        let left = server.cli(&["get", &key(client(n))]).await.unwrap();
        assert!(left.parse::<u64>().is_ok(), "{command}: {left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_from_the_far_future_denies_for_one_interval_at_most() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let quick = Quota::new(1000, 20_000).unwrap();
    for (n, command) in (1..).zip(FAR) {
        poison(&server, command, &key(client(n))).await;
        let denied = ask(&store, client(n), quick, 1).await.unwrap().decision;
        let wait = denied.retry_after.unwrap();
        assert!(wait <= quick.interval(), "{command}: {wait}");
        tokio::time::sleep(Duration::from_micros(wait)).await;
        assert!(allowed(&store, client(n), quick, 1).await, "{command}");

        // A question alone heals as well, and what is left ends with the burst.
        let key = key(client(n));
        poison(&server, command, &key).await;
        assert!(allowed(&store, client(n), slow(2), 0).await, "{command}");
        let left = server.cli(&["get", &key]).await.unwrap();
        assert!(
            left.parse::<u64>().unwrap() < 2_000_000_000_000_000,
            "{left}"
        );
        let ttl: u64 = server.cli(&["pttl", &key]).await.unwrap().parse().unwrap();
        assert!(ttl <= 2 * HOUR / 1000 + 1, "{command}: {ttl}");
    }
}
