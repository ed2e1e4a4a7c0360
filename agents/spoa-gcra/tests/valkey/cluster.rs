//! A cluster of three: found, followed when its slots move, and used as far as it is up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cluster_routing::Slot;
use spoa_gcra::policy::{Limit, LimitId, Policy};
use spoa_gcra::store::Check;
use spoa_gcra::store::valkey::{BreakerState, Config, StoreError};
use spop_testkit::port;
use spop_testkit::process::Signal;
use spop_testkit::valkey::{Cluster, Server, Setup};
use tower::ServiceExt as _;

use super::{
    PATIENCE, allowed, ask, breaker, client, config, connection, errors, key, ready, slow,
    state_of, store,
};

/// `CLUSTER SETSLOT`
async fn set_slot(node: &Server, slot: &str, how: &[&str]) {
    let command = [&["cluster", "setslot", slot], how].concat();
    assert_eq!(node.cli(&command).await.unwrap(), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_from_one_node() {
    let cluster = Cluster::start(3).await.unwrap();
    for node in cluster.nodes() {
        node.cli(&["config", "set", "requirepass", "secret"])
            .await
            .unwrap();
    }
    let seed = format!("redis://:secret@127.0.0.1:{}", cluster.node(1).port());
    let store = store(&seed, config());
    for n in 0..60 {
        ready(&store, client(n)).await;
        for expected in [true, true, false] {
            assert_eq!(allowed(&store, client(n), slow(2), 1).await, expected);
        }
    }
    let mut keys = 0;
    for node in cluster.nodes() {
        let mut connection =
            connection(&format!("redis://:secret@127.0.0.1:{}", node.port())).await;
        let size: u64 = redis::cmd("DBSIZE")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!(size > 0, "a primary has no client");
        keys += size;
    }
    assert_eq!(keys, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(3).await.unwrap();
    let store = store(&cluster.urls(), config());
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    // Two clients of one slot: one with state, one without.
    let (known, slot) = (client(1), Slot::for_key(key(client(1))));
    let fresh = (2..)
        .map(client)
        .find(|&other| Slot::for_key(key(other)) == slot)
        .unwrap();
    assert!(allowed(&store, known, slow(5), 2).await);

    let source = cluster.primary_of(&key(known)).await.unwrap();
    let target = cluster
        .nodes()
        .iter()
        .find(|node| node.port() != source.port())
        .unwrap();
    let number = source
        .cli(&["cluster", "keyslot", &key(known)])
        .await
        .unwrap();
    let source_id = source.cli(&["cluster", "myid"]).await.unwrap();
    let target_id = target.cli(&["cluster", "myid"]).await.unwrap();
    set_slot(target, &number, &["importing", &source_id]).await;
    set_slot(source, &number, &["migrating", &target_id]).await;

    // While it moves: who has state is still here, who has none is over there.
    assert!(allowed(&store, known, slow(5), 1).await);
    assert!(allowed(&store, fresh, slow(5), 1).await);
    assert_eq!(errors(source, "ASK").await, 1);
    assert_eq!(target.cli(&["dbsize"]).await.unwrap(), "1");

    let target_port = target.port().to_string();
    let migrate = [
        "migrate",
        "127.0.0.1",
        &target_port,
        &key(known),
        "0",
        "5000",
    ];
    assert_eq!(source.cli(&migrate).await.unwrap(), "OK");
    for node in [target, source] {
        set_slot(node, &number, &["node", &target_id]).await;
    }
    let moved = errors(source, "MOVED").await;
    for n in [known, known, fresh, fresh, fresh, fresh] {
        assert!(allowed(&store, n, slow(5), 1).await);
    }
    assert!(errors(source, "MOVED").await > moved);
    assert!(!allowed(&store, known, slow(5), 1).await);
    assert!(!allowed(&store, fresh, slow(5), 1).await);

    // And the new map is learnt: in the end nobody asks the old primary.
    let since = Instant::now();
    loop {
        let moved = errors(source, "MOVED").await;
        assert!(!allowed(&store, known, slow(5), 1).await);
        if errors(source, "MOVED").await == moved {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_fails_its_own_clients_until_it_is_back() {
    let cluster = Cluster::start(3).await.unwrap();
    let store = store(&cluster.urls(), config());
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    let dead = cluster.primary_of(&key(client(0))).await.unwrap();
    let dead_name = format!("127.0.0.1:{}", dead.port());
    dead.kill();

    let mut failed = 0;
    for n in 0..60 {
        match ask(&store, client(n), slow(2), 1).await {
            Ok(verdict) => assert!(verdict.decision.allowed),
            Err(error) => {
                assert!(error.to_string().contains(&dead_name), "{error}");
                failed += 1;
            }
        }
    }
    assert!((1..60).contains(&failed), "{failed} of 60 failed");

    dead.restart().await.unwrap();
    cluster.settled().await.unwrap();
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    assert!(allowed(&store, client(0), slow(2), 2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_replaced_and_not_believed_when_it_wakes() {
    let cluster = Cluster::start_with(Setup::new(3, 1)).await.unwrap();
    let store = store(&cluster.urls(), Config::default());
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    let frozen = cluster.primary_of(&key(client(0))).await.unwrap();
    assert!(state_of(&store, frozen).is_some());
    frozen.signal(Signal::STOP).unwrap();
    breaker(&store, frozen, BreakerState::Open).await;
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    assert!(state_of(&store, frozen).is_none());

    frozen.signal(Signal::CONT).unwrap();
    let since = Instant::now();
    loop {
        ready(&store, client(0)).await;
        assert!(state_of(&store, frozen).is_none());
        if frozen.cli(&["role"]).await.unwrap().starts_with("slave") {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_is_used_from_the_first_slot_on() {
    let cluster = Cluster::start(3).await.unwrap();
    let store = store(&cluster.urls(), config());
    ready(&store, client(1)).await;
    let bus = port::free().unwrap().to_string();
    let joined = Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        .await
        .unwrap();

    let source = cluster.primary_of(&key(client(1))).await.unwrap();
    let number = source
        .cli(&["cluster", "keyslot", &key(client(1))])
        .await
        .unwrap();
    let source_id = source.cli(&["cluster", "myid"]).await.unwrap();
    let joined_id = joined.cli(&["cluster", "myid"]).await.unwrap();
    let port = joined.port().to_string();
    let meet = ["cluster", "meet", "127.0.0.1", &port, &bus];
    assert_eq!(source.cli(&meet).await.unwrap(), "OK");
    for (node, other) in [(source, &joined_id), (&joined, &source_id)] {
        let since = Instant::now();
        while !node
            .cli(&["cluster", "nodes"])
            .await
            .unwrap()
            .contains(other)
        {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    set_slot(&joined, &number, &["importing", &source_id]).await;
    set_slot(source, &number, &["migrating", &joined_id]).await;

    // Named by ASK before it serves a single slot: it is connected to and then asked.
    ready(&store, client(1)).await;
    for expected in [true, true, false] {
        assert_eq!(allowed(&store, client(1), slow(2), 1).await, expected);
    }
    assert_eq!(joined.cli(&["dbsize"]).await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_limits_are_not_decided_while_their_slot_moves_key_by_key() {
    let cluster = Cluster::start(3).await.unwrap();
    let store = store(&cluster.urls(), config());
    for n in 0..60 {
        ready(&store, client(n)).await;
    }
    let limits = ["second", "hour"].into_iter().zip(1..).map(|(name, n)| {
        let id = LimitId::new(NonZeroU32::new(n).unwrap());
        Limit::named(name, id, slow(5))
    });
    let policy = Arc::new(Policy::new("p", limits.collect()).unwrap());
    let ask = async |client| {
        let check = Check {
            client,
            policy: Arc::clone(&policy),
            cost: 1,
            count: 1,
            deadline: Instant::now() + PATIENCE,
        };
        let verdict = store.clone().oneshot(check).await;
        verdict.map(|verdict| verdict.decision.remaining)
    };
    let refused = async |client| match ask(client).await {
        Err(StoreError::Refused { code, .. }) => assert_eq!(&*code, "TRYAGAIN"),
        other => panic!("{other:?}"),
    };
    // Two clients of one slot: one with state, one without.
    let key = |client, limit| format!("gcra:{{{client}}}:{limit}");
    let known = client(1);
    let slot = Slot::for_key(key(known, "second"));
    let fresh = (2..)
        .map(client)
        .find(|&other| Slot::for_key(key(other, "second")) == slot)
        .unwrap();
    assert_eq!(ask(known).await, Ok(4));

    let source = cluster.primary_of(&key(known, "second")).await.unwrap();
    let mut nodes = cluster.nodes().iter();
    let target = nodes.find(|node| node.port() != source.port()).unwrap();
    let number = source
        .cli(&["cluster", "keyslot", &key(known, "second")])
        .await;
    let number = number.unwrap();
    let source_id = source.cli(&["cluster", "myid"]).await.unwrap();
    let target_id = target.cli(&["cluster", "myid"]).await.unwrap();
    set_slot(target, &number, &["importing", &source_id]).await;
    set_slot(source, &number, &["migrating", &target_id]).await;

    // Both keys are still here.
    assert_eq!(ask(known).await, Ok(3));
    refused(fresh).await;
    let port = target.port().to_string();
    for limit in ["second", "hour"] {
        let key = key(known, limit);
        let migrate = ["migrate", "127.0.0.1", &port, &key, "0", "5000"];
        assert_eq!(source.cli(&migrate).await.unwrap(), "OK");
        if limit == "second" {
            refused(known).await;
        }
    }
    // Both are over there.
    assert_eq!(ask(known).await, Ok(2));
    for node in [target, source] {
        set_slot(node, &number, &["node", &target_id]).await;
    }
    assert_eq!(ask(known).await, Ok(1));
    assert_eq!(ask(fresh).await, Ok(4));
}
