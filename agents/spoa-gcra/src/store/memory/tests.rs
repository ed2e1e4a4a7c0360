//! The store against a plain map, its bounds in clients and bytes, and its threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::super::rooms::oracle::Oracle;
use super::*;
use crate::gcra::{Quota, increment};
use crate::policy::{Limit, Policy};

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
fn threads_together_spend_from_all_limits_or_from_none() {
    const HOUR: u64 = 3_600_000_000;
    let named = |number: u32, times| {
        let id = LimitId::new(number.try_into().unwrap());
        Limit::named("", id, Quota::new(HOUR, times * HOUR).unwrap())
    };
    let [short, long, longer] = [named(1, 700), named(2, 1000), named(3, 2000)];
    let asking = |limits: &[&Limit], cost| Check {
        policy: Arc::new(Policy::new("", limits.iter().copied().cloned().collect()).unwrap()),
        ..check(client(7), quota(), cost)
    };
    let store = MemoryStore::new(1000);
    // Two policies that have a limit in common.
    let policies = [asking(&[&long, &short], 1), asking(&[&longer, &long], 1)];
    let admitted: Vec<u64> = thread::scope(|scope| {
        let run = |thread: usize| {
            let (check, store) = (&policies[thread % 2], &store);
            let allowed = move |_: &i32| store.decide(check).decision.allowed;
            scope.spawn(move || (0..1000).filter(allowed).count() as u64)
        };
        let threads: Vec<_> = (0..4).map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let [by_first, by_second] = [admitted[0] + admitted[2], admitted[1] + admitted[3]];
    assert_eq!(by_first + by_second, 1000);
    assert!(by_first <= 700);
    for (limit, spent) in [(short, by_first), (long, 1000), (longer, by_second)] {
        let left = store.decide(&asking(&[&limit], 0)).decision.remaining;
        assert_eq!(left, limit.quota().limit() - spent);
    }
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

/// Limits that policies are made of: of one client, they are in one shard.
fn limits() -> [Limit; 4] {
    let named = |number: u32, interval, burst| {
        let id = LimitId::new(number.try_into().unwrap());
        Limit::named(
            &number.to_string(),
            id,
            Quota::new(interval, burst).unwrap(),
        )
    };
    [
        Limit::only(quota()),
        named(1, 1, 12),
        named(2, 7, 20),
        named(3, 40, 160),
    ]
}

/// A policy of some of them, or of none.
fn policy() -> impl Strategy<Value = Arc<Policy>> {
    subsequence(Vec::from(limits()), 0..=4)
        .prop_map(|limits| Arc::new(Policy::new("of tests", limits).unwrap()))
}

/// Checks of so many clients, each so many µs after the one before.
fn schedule(clients: u32) -> impl Strategy<Value = Vec<(u64, Check)>> {
    let check = (0..clients, policy(), 0..=5u64, 1..=4u32);
    let check = check.prop_map(|(n, policy, cost, count)| Check {
        client: client(n),
        policy,
        cost,
        count,
        deadline: Instant::now(),
    });
    vec((0..=30u64, check), 1..300)
}

proptest! {
    #[test]
    fn answers_as_a_plain_map_does(schedule in schedule(10)) {
        let (store, mut oracle) = (MemoryStore::new(40), Oracle::default());
        let mut now = 0;
        for (step, check) in schedule {
            now += step;
            let expected = oracle.decide(&check, now, Source::Memory);
            prop_assert_eq!(store.decide_at(&check, now), expected);
            prop_assert!(store.len() >= oracle.debts(now).len());
        }
        prop_assert_eq!(store.evictions(), 0);
    }

    /// Too small for its clients, it stays within its bound, and the worst that happens is
    /// that a client gets a burst early: it is only denied what it has really used up. That
    /// one limit of a client may have to go for another one changes nothing.
    #[test]
    fn when_full_it_errs_for_the_client(schedule in schedule(20), max in 1..12usize) {
        let store = MemoryStore::new(max);
        // As if each limit had been alone, and nothing forgotten.
        let mut tats: HashMap<(Client, LimitId), u64> = HashMap::new();
        let mut now = 0;
        for (step, check) in schedule {
            now += step;
            let verdict = store.decide_at(&check, now);
            prop_assert!(store.len() <= max);
            if let Some(limit) = check.policy.limits().get(verdict.limit) {
                let key = (check.client, limit.id());
                let used_up = tats.get(&key).copied().unwrap_or(now).max(now);
                let more = increment(limit.quota(), check.cost);
                let denied = !verdict.decision.allowed;
                prop_assert!(!denied || used_up + more > now + limit.quota().burst());
            }
            for limit in check.policy.limits() {
                let tat = tats.entry((check.client, limit.id())).or_insert(now);
                let more = increment(limit.quota(), check.cost) * u64::from(verdict.granted);
                *tat = more + now.max(*tat);
            }
        }
    }

    /// Forgetting what is past is no eviction, and all of it goes.
    #[test]
    fn newcomers_take_the_places_of_the_expired(before in 1..300u32, costs in vec(1..=4u64, 300)) {
        let store = MemoryStore::new(300);
        for (n, cost) in (0..before).zip(costs) {
            store.decide_at(&check(client(n), quota(), cost), 0);
        }
        prop_assert_eq!(store.len(), before as usize);
        let later = quota().burst();
        // Each looks at a few places, so that all have been looked at when the last one came.
        for n in 1000..1300 {
            store.decide_at(&check(client(n), quota(), 1), later);
        }
        prop_assert_eq!(store.len(), 300);
        prop_assert_eq!(store.evictions(), 0);
    }
}
