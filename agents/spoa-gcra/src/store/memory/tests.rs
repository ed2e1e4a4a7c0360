//! The store against a plain map, its bounds in clients and bytes, and its threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::gcra::{self, Decision, Quota, increment};
use crate::policy::Policy;

fn check(client: Client, quota: Quota, cost: u64) -> Check {
    Check {
        client,
        policy: Arc::new(Policy::of_one(quota)),
        cost,
        count: 1,
        deadline: Instant::now(),
    }
}

/// Every second client is an IPv6 one.
fn client(n: u32) -> Client {
    let v4 = Ipv4Addr::from_bits(n);
    Client(if n.is_multiple_of(2) {
        IpAddr::V4(v4)
    } else {
        let bits = (0x2001_0db8 << 96) | u128::from(n) << 64;
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    })
}

fn quota() -> Quota {
    Quota::new(10, 45).unwrap()
}

#[test]
fn clones_share_one_state_and_clients_do_not() {
    let store = MemoryStore::new(10);
    let (one, other) = (client(1), client(2));
    for n in 0..4 {
        let store = store.clone();
        assert!(
            store.decide_at(&check(one, quota(), 1), 0).decision.allowed,
            "{n}"
        );
    }
    let denied = store.decide_at(&check(one, quota(), 1), 4);
    assert_eq!(denied.decision.retry_after, Some(1));
    assert!(
        store
            .decide_at(&check(other, quota(), 4), 4)
            .decision
            .allowed
    );
    assert!(store.decide_at(&check(one, quota(), 1), 5).decision.allowed);
    assert_eq!(store.len(), 2);
}

#[test]
fn what_stores_nothing_takes_no_room() {
    let store = MemoryStore::new(10);
    store.decide_at(&check(client(1), quota(), 0), 0);
    store.decide_at(&check(client(2), quota(), 5), 0);
    assert!(store.is_empty());
}

#[test]
fn the_bound_on_clients_can_be_anything() {
    for max in [0, 1, 2, SHARD_CLIENTS, SHARD_CLIENTS + 1] {
        let store = MemoryStore::new(max);
        for n in 0..5000 {
            assert!(
                store
                    .decide_at(&check(client(n), quota(), 1), 0)
                    .decision
                    .allowed
            );
        }
        assert!((1..=max.max(1)).contains(&store.len()), "max {max}");
    }
    let huge = MemoryStore::new(usize::MAX);
    assert_eq!(huge.inner.shards.len(), MAX_CLIENTS.div_ceil(SHARD_CLIENTS));
}

#[test]
fn a_full_store_forgets_small_debts_first() {
    let store = MemoryStore::new(1000);
    let heavy: Vec<u32> = (0..200).collect();
    for &n in &heavy {
        store.decide_at(&check(client(n), quota(), 4), 0);
    }
    // An attacker with 100 000 addresses, one request each.
    for n in 1000..101_000 {
        assert!(
            store
                .decide_at(&check(client(n), quota(), 1), 0)
                .decision
                .allowed
        );
    }
    assert!(store.len() <= 1000);
    assert!(store.evictions() > 90_000);
    let remembered = heavy
        .iter()
        .filter(|&&n| {
            !store
                .decide_at(&check(client(n), quota(), 1), 0)
                .decision
                .allowed
        })
        .count();
    assert!(remembered >= 190, "{remembered} of 200");
}

/// Memory holds the clients alive, not all that ever came.
#[test]
fn the_expired_make_room_for_newcomers() {
    let store = MemoryStore::new(500_000);
    let live = 20_000;
    // Each client lives for 10 µs; `live` of them come in that time.
    for n in 0..20 * live {
        let now = u64::from(n) * 10 / u64::from(live);
        store.decide_at(&check(client(n), quota(), 1), now);
    }
    assert_eq!(store.evictions(), 0);
    assert!(store.len() <= 2 * live as usize, "{}", store.len());
}

#[test]
fn two_hundred_thousand_clients_take_at_most_96_bytes_each() {
    const CLIENTS: u32 = 200_000;
    let bytes_each = |store: &MemoryStore| store.allocated() / store.len();

    // By default, with room to spare: all of them alive.
    let store = MemoryStore::new(500_000);
    for n in 0..CLIENTS {
        store.decide_at(&check(client(n), quota(), 1), 0);
    }
    assert_eq!(store.len(), CLIENTS as usize);
    assert!(bytes_each(&store) <= 96, "{}", bytes_each(&store));

    // With just as much room, full, under four times as many newcomers.
    let store = MemoryStore::new(CLIENTS as usize);
    for n in 0..4 * CLIENTS {
        store.decide_at(&check(client(n), quota(), 1), 0);
    }
    assert!(store.len() > 190_000 && store.len() <= CLIENTS as usize);
    assert!(bytes_each(&store) <= 96, "{}", bytes_each(&store));
}

/// Whatever the order of growth and churn, a shard has at most 4096 buckets.
#[test]
fn the_bound_on_memory_holds_under_churn() {
    let store = MemoryStore::new(10_000);
    let shards = store.inner.shards.len();
    for n in 0..400_000 {
        // Lifetimes from 1 to 4 intervals, in waves that fill and empty the store.
        let now = u64::from(n / 1000) * (u64::from(n / 50_000) % 3);
        let cost = 1 + u64::from(n % 4);
        store.decide_at(&check(client(n), quota(), cost), now);
    }
    assert!(store.allocated() <= shards * (4096 * 33 + 128));
    assert!(store.evictions() > 0);
}

#[test]
fn threads_together_admit_no_more_than_one_limit() {
    const THREADS: usize = 4;
    let quota = Quota::new(200, 4_000).unwrap();
    let store = MemoryStore::new(1000);
    let started = Instant::now();
    let admitted: u64 = thread::scope(|scope| {
        let run = || {
            let check = check(client(7), quota, 1);
            (0..20_000)
                .filter(|_| store.decide(&check).decision.allowed)
                .count() as u64
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap() + 1;
    assert!(admitted >= quota.limit());
    assert!(admitted * quota.interval() <= quota.burst() + elapsed);
}

#[test]
fn threads_that_evict_each_other_keep_the_bound() {
    let store = MemoryStore::new(100);
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..20_000 {
                    store.decide_at(&check(client(n * 4 + thread), quota(), 1), 0);
                }
            });
        }
    });
    assert_eq!(store.len(), 100);
    assert_eq!(store.evictions(), 80_000 - 100);
}

#[tokio::test]
async fn as_a_service_it_answers_by_its_own_clock() {
    use tower::ServiceExt as _;

    let store = MemoryStore::new(10);
    let quota = Quota::new(1_000, 1_000).unwrap();
    let ask = || store.clone().oneshot(check(client(1), quota, 1));
    let verdict = ask().await.unwrap();
    assert_eq!(verdict.source, Source::Memory);
    assert!(verdict.decision.allowed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(ask().await.unwrap().decision.allowed);
}

/// The store without its bounds.
#[derive(Default)]
struct Model(HashMap<Client, u64>);

impl Model {
    fn decide_at(&mut self, check: &Check, now: u64) -> Decision {
        let (client, cost) = (check.client, check.cost);
        let quota = check.policy.limits()[0].quota();
        let outcome = gcra::decide(quota, self.0.get(&client).copied(), now, cost);
        if let Some(tat) = outcome.store {
            self.0.insert(client, tat);
        }
        Decision::from_room(quota, cost, outcome.room)
    }
}

/// Steps of `(µs since the last, client, cost)`.
fn schedule(clients: u32) -> impl Strategy<Value = Vec<(u64, u32, u64)>> {
    vec((0..=30u64, 0..clients, 0..=5u64), 1..400)
}

proptest! {
    #[test]
    fn answers_as_a_plain_map_does(schedule in schedule(40)) {
        let (store, mut model) = (MemoryStore::new(40), Model::default());
        let mut now = 0;
        for (step, n, cost) in schedule {
            now += step;
            let check = check(client(n), quota(), cost);
            let verdict = store.decide_at(&check, now);
            prop_assert_eq!(verdict.decision, model.decide_at(&check, now));
        }
        prop_assert_eq!(store.evictions(), 0);
    }

    /// Too small for its clients, it stays within its bound, and the worst that happens is
    /// that a client gets a burst early: it is never denied what it would be granted.
    #[test]
    fn when_full_it_errs_for_the_client(schedule in schedule(40), max in 1..8usize) {
        let store = MemoryStore::new(max);
        let mut admitted: HashMap<u32, u64> = HashMap::new();
        let mut now = 0;
        for (step, n, cost) in schedule {
            now += step;
            let fits = cost <= quota().limit();
            let idle = admitted.get(&n).is_none_or(|&until| until <= now);
            let decision = store.decide_at(&check(client(n), quota(), cost), now).decision;
            prop_assert!(store.len() <= max);
            prop_assert!(decision.allowed || !(fits && idle));
            if decision.allowed {
                let until = admitted.get(&n).copied().unwrap_or(now).max(now);
                admitted.insert(n, until + increment(quota(), cost));
            }
        }
    }
}
