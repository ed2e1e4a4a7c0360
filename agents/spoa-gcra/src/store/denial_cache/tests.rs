//! The layer around an oracle, in virtual time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::{advance, sleep};
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::gcra::{Quota, decide};
use crate::policy::Policy;
use crate::store::{Client, Rooms, Source};

fn check(n: u32, quota: Quota, cost: u64) -> Check {
    Check {
        client: Client(IpAddr::V4(Ipv4Addr::from_bits(n))),
        policy: Arc::new(Policy::of_one(quota)),
        cost,
        count: 1,
        deadline: Instant::now().into_std(),
    }
}

/// The server, with a clock of its own.
struct Oracle {
    started: Instant,
    tats: Mutex<HashMap<Client, u64>>,
    asked: AtomicU64,
}

impl Oracle {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            tats: Mutex::default(),
            asked: AtomicU64::new(0),
        })
    }

    fn decide(&self, check: &Check) -> Verdict {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let now = 1_760_000_000_123_456 + self.started.elapsed().as_micros() as u64;
        let mut tats = self.tats.lock().unwrap();
        let tat = tats.get(&check.client).copied();
        let outcome = decide(check.policy.limits()[0].quota(), tat, now, check.cost);
        if let Some(tat) = outcome.store {
            tats.insert(check.client, tat);
        }
        Rooms::new([outcome.room]).verdict(check, 0, Source::Valkey)
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A layer around this oracle, which takes `way` to reach and as long to answer.
fn around(
    oracle: &Arc<Oracle>,
    entries: usize,
    way: Duration,
) -> impl Service<Check, Response = Verdict, Error = &'static str, Future: Send> + Clone + use<> {
    inside(DenialCacheLayer::new(entries), oracle, way)
}

fn inside(
    layer: DenialCacheLayer,
    oracle: &Arc<Oracle>,
    way: Duration,
) -> impl Service<Check, Response = Verdict, Error = &'static str, Future: Send> + Clone + use<> {
    let oracle = Arc::clone(oracle);
    let store = service_fn(move |check: Check| {
        let oracle = Arc::clone(&oracle);
        async move {
            if !way.is_zero() {
                sleep(way).await;
            }
            let verdict = oracle.decide(&check);
            if !way.is_zero() {
                sleep(way).await;
            }
            Ok(verdict)
        }
    });
    layer.layer(store)
}

#[derive(Debug, Clone)]
struct Step {
    client: u32,
    cost: u64,
    /// µs
    advance: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let cost = prop_oneof![8 => Just(1u64), 3 => 0..25u64, 1 => Just(1_000_000)];
    let advance =
        prop_oneof![4 => Just(0), 6 => 0..4000u64, 3 => 0..40_000u64, 1 => 0..3_000_000u64];
    let client = prop_oneof![3 => 0..2u32, 1 => 0..40u32];
    (client, cost, advance).prop_map(|(client, cost, advance)| Step {
        client,
        cost,
        advance,
    })
}

/// A store that answers at once gives the same answers behind the cache as without it: the
/// same decisions, and the same numbers with them. The table is small, so that entries get
/// pushed out.
#[test]
fn every_answer_is_what_the_store_alone_would_give() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let quotas = prop_oneof![
        Just((10_000, 200_000)),
        Just((7, 7)),
        Just((7, 30)),
        Just((333_334, 1_000_001)),
        Just((1_000_000, 1_000_000)),
        Just((3_600_000_000, 7_200_000_000)),
    ];
    let cached = std::cell::Cell::new(0u64);
    let cases = (quotas, vec(step(), 1..200));
    let outcome = runner.run(&cases, |((interval, burst), steps)| {
        runtime.block_on(async {
            let quota = Quota::new(interval, burst).unwrap();
            let (alone, behind) = (Oracle::new(), Oracle::new());
            let store = around(&behind, 8, Duration::ZERO);
            for step in &steps {
                advance(Duration::from_micros(step.advance)).await;
                let check = check(step.client, quota, step.cost);
                let verdict = store.clone().oneshot(check.clone()).await.unwrap();
                prop_assert_eq!(
                    verdict.decision,
                    alone.decide(&check).decision,
                    "{:?}",
                    step
                );
                prop_assert!(verdict.source == Source::Valkey || !verdict.decision.allowed);
            }
            prop_assert_eq!(&*alone.tats.lock().unwrap(), &*behind.tats.lock().unwrap());
            cached.set(cached.get() + alone.asked() - behind.asked());
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(cached.get() > 1000, "{}", cached.get());
}

/// Time counts from the sending: the answer's way back is not added to the denial.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_denies_no_longer() {
    let oracle = Oracle::new();
    let store = around(&oracle, 8, Duration::from_millis(20));
    let quota = Quota::new(100_000, 100_000).unwrap();
    let ask = || store.clone().oneshot(check(1, quota, 1));

    // Sent at 0, decided at 20 ms, known at 40 ms.
    assert!(ask().await.unwrap().decision.allowed);
    let denied = ask().await.unwrap();
    assert_eq!(denied.source, Source::Cache);
    assert_eq!(denied.decision.retry_after, Some(60_000));
    advance(Duration::from_micros(59_999)).await;
    assert_eq!(ask().await.unwrap().source, Source::Cache);
    assert_eq!(oracle.asked(), 1);
    advance(Duration::from_micros(1)).await;
    // At 100 ms; it arrives at 120 ms, the very moment at which the server admits it.
    let verdict = ask().await.unwrap();
    assert_eq!(verdict.source, Source::Valkey);
    assert!(verdict.decision.allowed);
}

/// 20 000 checks a second for 10 s, one a second allowed.
#[tokio::test(start_paused = true)]
async fn a_flood_is_one_question_per_admission() {
    let oracle = Oracle::new();
    let layer = DenialCacheLayer::new(65_536);
    let store = inside(layer.clone(), &oracle, Duration::ZERO);
    let quota = Quota::new(1_000_000, 1_000_000).unwrap();
    let mut allowed = 0;
    for _ in 0..200_000 {
        let verdict = store.clone().oneshot(check(1, quota, 1)).await.unwrap();
        allowed += u64::from(verdict.decision.allowed);
        advance(Duration::from_micros(50)).await;
    }
    assert_eq!((allowed, oracle.asked()), (10, 10));
    let stats = layer.stats();
    assert_eq!((stats.hits(), stats.learnt()), (199_990, 1));
    assert_eq!(stats.evictions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgot_is_asked_again_within_a_second() {
    let oracle = Oracle::new();
    let store = around(&oracle, 8, Duration::ZERO);
    let hour = Quota::new(3_600_000_000, 3_600_000_000).unwrap();
    let ask = || store.clone().oneshot(check(1, hour, 1));
    assert!(ask().await.unwrap().decision.allowed);
    oracle.tats.lock().unwrap().clear();
    advance(Duration::from_micros(999_999)).await;
    assert_eq!(ask().await.unwrap().source, Source::Cache);
    advance(Duration::from_micros(1)).await;
    assert!(ask().await.unwrap().decision.allowed);
}

#[tokio::test(start_paused = true)]
async fn failures_and_calls_given_up_leave_nothing_behind() {
    let quota = Quota::new(1000, 1000).unwrap();
    let failing = service_fn(|_: Check| async { Err::<Verdict, _>("down") });
    let failing = DenialCacheLayer::new(8).layer(failing);
    for _ in 0..2 {
        let error = failing.clone().oneshot(check(1, quota, 1)).await;
        assert_eq!(error, Err("down"));
    }

    let oracle = Oracle::new();
    let store = around(&oracle, 8, Duration::from_millis(2));
    let ask = || store.clone().oneshot(check(1, quota, 1));
    let given_up = tokio::time::timeout(Duration::from_millis(3), ask()).await;
    assert!(given_up.is_err());
    assert_eq!(oracle.asked(), 1);
    assert_eq!(ask().await.unwrap().source, Source::Valkey);
}

#[tokio::test(start_paused = true)]
async fn every_service_of_a_layer_shares_what_is_known() {
    let quota = Quota::new(1_000_000, 1_000_000).unwrap();
    let oracle = Oracle::new();
    let layer = DenialCacheLayer::new(0);
    let services = [(); 2].map(|()| {
        let oracle = Arc::clone(&oracle);
        layer.layer(service_fn(move |check: Check| {
            std::future::ready(Ok::<_, &str>(oracle.decide(&check)))
        }))
    });
    let [one, other] = services;
    let first = one.oneshot(check(1, quota, 1)).await.unwrap();
    assert_eq!(
        (first.decision.allowed, first.source),
        (true, Source::Valkey)
    );
    let second = other.oneshot(check(1, quota, 1)).await.unwrap();
    assert_eq!(
        (second.decision.allowed, second.source),
        (false, Source::Cache)
    );
}
