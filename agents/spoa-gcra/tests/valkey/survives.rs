//! What is survived: servers that come late, go, freeze, forget or drown.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoa_gcra::policy::Policy;
use spoa_gcra::store::Check;
use spoa_gcra::store::valkey::{BreakerState, Config, StoreError};
use spop_testkit::process::Signal;
use spop_testkit::valkey::Server;
use tower::ServiceExt;

use super::{
    PATIENCE, allowed, ask, breaker, client, config, connection, errors, key, ready, slow,
    state_of, store,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_script_may_be_flushed_under_load() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;

    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=32 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                assert!(allowed(&store, client(n), slow(100), 1).await);
            }
            assert!(!allowed(&store, client(n), slow(100), 1).await);
        });
    }
    let mut connection = connection(&server.url()).await;
    let mut flushes = 0;
    while !tasks.is_empty() {
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .unwrap();
        flushes += 1;
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    assert!(flushes > 1);
    assert!(errors(&server, "NOSCRIPT").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_an_error_and_then_is_used_again() {
    let server = Server::start().await.unwrap();
    let impatient = Config {
        budget: Duration::from_millis(50),
        ..Config::default()
    };
    let store = store(&server.url(), impatient);
    ready(&store, client(0)).await;

    server.signal(Signal::STOP).unwrap();
    let since = Instant::now();
    let mut seen = HashSet::new();
    // First it does not answer, then it is given up.
    while !seen.contains("not connected") {
        let error = ask(&store, client(1), slow(1), 1)
            .await
            .unwrap_err()
            .to_string();
        seen.insert(error.rsplit(": ").next().unwrap().to_owned());
        assert!(since.elapsed() < PATIENCE, "{seen:?}");
    }
    assert!(seen.contains("no answer within the budget"), "{seen:?}");

    server.signal(Signal::CONT).unwrap();
    ready(&store, client(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_found_out_and_found_again_without_a_check() {
    frozen_and_back(Config::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_share_what_one_of_them_finds_out() {
    let lanes = Config {
        lanes: 3,
        ..Config::default()
    };
    frozen_and_back(lanes).await;
}

async fn frozen_and_back(config: Config) {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config);
    for n in 0..20 {
        ready(&store, client(n)).await;
    }
    breaker(&store, &server, BreakerState::Closed).await;

    server.signal(Signal::STOP).unwrap();
    breaker(&store, &server, BreakerState::Open).await;
    let before = state_of(&store, &server).unwrap();
    // No check waits for anything now, not even for an attempt that is under way.
    let mut asked = 0;
    while asked < 100 || state_of(&store, &server).unwrap().breaker != BreakerState::HalfOpen {
        let client = client(u32::try_from(asked).unwrap());
        let error = ask(&store, client, slow(1), 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let during = state_of(&store, &server).unwrap();
    assert_eq!(during.refused - before.refused, asked);
    assert_eq!((during.sent, during.queued), (before.sent, 0));

    server.signal(Signal::CONT).unwrap();
    breaker(&store, &server, BreakerState::Closed).await;
    let after = state_of(&store, &server).unwrap();
    assert_eq!(after.sent, before.sent);
    assert!(after.connections > before.connections && after.since > before.since);
    for n in 0..20 {
        ready(&store, client(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_wait_for_the_connection_after_one_that_was_closed() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    // Old enough not to be taken for one that never works.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for n in 1..=20 {
        let killed = server.cli(&["client", "kill", "type", "normal"]).await;
        assert_eq!(killed.unwrap(), "1");
        match ask(&store, client(n), slow(1), 1).await {
            Ok(verdict) => assert!(verdict.decision.allowed),
            // It was on its way.
            Err(StoreError::ConnectionLost { .. }) => {}
            // Or this is one too many in a second.
            Err(StoreError::Unreachable { .. }) if n > 1 => {}
            Err(error) => panic!("{error}"),
        }
        ready(&store, client(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_every_check_is_answered() {
    const CHECKS: usize = 6000;
    const QUEUE: usize = 4096;
    const IN_FLIGHT: usize = 8 * 64;
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    server.signal(Signal::STOP).unwrap();

    let mut checks = tokio::task::JoinSet::new();
    for n in (1..).take(CHECKS) {
        let store = store.clone();
        checks.spawn(async move { ask(&store, client(n), slow(1), 1).await });
    }
    // Those that are refused are so while the server stands still.
    let mut overloaded = 0;
    while overloaded < CHECKS - QUEUE - IN_FLIGHT {
        let error = checks.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Overloaded { .. }), "{error}");
        overloaded += 1;
    }
    server.signal(Signal::CONT).unwrap();
    while let Some(answer) = checks.join_next().await {
        match answer.unwrap() {
            Ok(verdict) => assert!(verdict.decision.allowed),
            Err(StoreError::Overloaded { .. }) => overloaded += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(overloaded <= CHECKS - QUEUE, "{overloaded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn valkey_may_come_later() {
    let server = Server::start().await.unwrap();
    server.kill();
    let store = store(&server.url(), config());
    for _ in 0..10 {
        let error = ask(&store, client(1), slow(1), 1).await.unwrap_err();
        assert_eq!(error, StoreError::NoTopology);
    }
    server.restart().await.unwrap();
    ready(&store, client(1)).await;

    // And go again.
    server.kill();
    let error = ask(&store, client(1), slow(1), 1).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::ConnectionLost { .. } | StoreError::Unreachable { .. }
        ),
        "{error}"
    );
    server.restart().await.unwrap();
    ready(&store, client(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_spent_after_the_deadline() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let check = Check {
        client: client(1),
        policy: Arc::new(Policy::of_one(slow(1))),
        cost: 1,
        count: 1,
        deadline: Instant::now(),
    };
    let error = store.clone().oneshot(check).await.unwrap_err();
    assert!(matches!(error, StoreError::Deadline { .. }), "{error}");
    assert_eq!(server.cli(&["exists", &key(client(1))]).await.unwrap(), "0");
}
