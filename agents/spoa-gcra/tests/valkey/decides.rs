//! What is decided, by examples. That it is always so is for `tests/stores` to show.

use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::store::valkey::Config;
use spoa_gcra::store::{Client, Source};
use spop_testkit::valkey::Server;

use super::{HOUR, allowed, ask, client, config, ready, slow, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_client_has_exactly_its_burst() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;

    for left in (0..5).rev() {
        let verdict = ask(&store, client(1), slow(5), 1).await.unwrap();
        assert!(verdict.decision.allowed);
        assert_eq!(verdict.source, Source::Valkey);
        assert_eq!(verdict.decision.limit, 5);
        assert_eq!(verdict.decision.remaining, left);
        assert_eq!(verdict.decision.retry_after, None);
    }
    let denied = ask(&store, client(1), slow(5), 1).await.unwrap().decision;
    assert!(!denied.allowed);
    assert_eq!(denied.remaining, 0);
    assert!(denied.retry_after.unwrap() <= HOUR);
    assert!(denied.reset_after <= 5 * HOUR && denied.reset_after > 4 * HOUR);
    // One client's debt is not another's, and IPv6 clients have keys as well.
    assert!(allowed(&store, client(2), slow(5), 5).await);
    let v6 = Client("2001:db8:1:2::".parse().unwrap());
    assert!(allowed(&store, v6, slow(5), 5).await);
    assert!(!allowed(&store, v6, slow(5), 1).await);
    // Costs more than the burst: it never can.
    let never = ask(&store, client(3), slow(5), 6).await.unwrap().decision;
    assert!(!never.allowed);
    assert_eq!((never.remaining, never.retry_after), (5, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_wait_it_says_a_request_passes() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let quota = Quota::new(300_000, 300_000).unwrap();

    assert!(allowed(&store, client(1), quota, 1).await);
    let mut waits = 0;
    loop {
        let verdict = ask(&store, client(1), quota, 1).await.unwrap();
        let Some(wait) = verdict.decision.retry_after else {
            break;
        };
        waits += 1;
        assert!(waits < 2, "denied again after the wait");
        tokio::time::sleep(Duration::from_micros(wait)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_together_admit_what_one_limit_allows() {
    let server = Server::start().await.unwrap();
    let quota = Quota::new(10_000, 200_000).unwrap();
    let lanes = 3;
    let stores: Vec<_> = (0..4)
        .map(|_| store(&server.url(), Config { lanes, ..config() }))
        .collect();
    for store in &stores {
        ready(store, client(0)).await;
    }

    let since = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32usize {
        let store = stores[task % stores.len()].clone();
        tasks.spawn(async move {
            let mut admitted = 0u64;
            for _ in 0..200 {
                admitted += u64::from(allowed(&store, client(1), quota, 1).await);
            }
            admitted
        });
    }
    let admitted: u64 = tasks.join_all().await.into_iter().sum();
    let elapsed = u64::try_from(since.elapsed().as_micros()).unwrap();
    let most = (quota.burst() + elapsed) / quota.interval();
    assert!(
        (20..=most).contains(&admitted),
        "{admitted} of at most {most}"
    );
}
