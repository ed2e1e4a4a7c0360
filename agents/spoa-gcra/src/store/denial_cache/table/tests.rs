//! The table against an oracle that answers late, and its edges in time, key and room.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::gcra;
use crate::policy::Policy;

fn check(n: u32, quota: Quota, cost: u64) -> Check {
    Check {
        client: Client(IpAddr::V4(Ipv4Addr::from_bits(n))),
        policy: Arc::new(Policy::of_one(quota)),
        cost,
        count: 1,
        deadline: Instant::now(),
    }
}

/// 3 at once.
fn quota() -> Quota {
    Quota::new(1000, 3500).unwrap()
}

fn verdict(decision: Decision) -> Verdict {
    Verdict {
        decision,
        limit: 0,
        granted: decision.allowed.into(),
        source: Source::Valkey,
    }
}

/// What the server says to this check if the client's bucket is full again after `debt` µs.
fn answer(check: &Check, debt: u64) -> Verdict {
    let quota = check.policy.limits()[0].quota();
    let outcome = gcra::decide(quota, Some(debt), 0, check.cost);
    verdict(Decision::from_room(quota, check.cost, outcome.room))
}

/// The decision that needs no asking.
fn denied(table: &Table, check: &Check, now: u64) -> Option<Decision> {
    let denial = table.denial(check, now)?;
    assert_eq!((denial.limit, denial.granted), (0, 0));
    assert_eq!(denial.source, Source::Cache);
    Some(denial.decision)
}

const MICRO: u64 = 1000;
const BELIEVED_NANOS: u64 = 1_000_000_000;

#[test]
fn denied_until_the_server_would_admit_and_not_longer() {
    let table = Table::new(8);
    let asked = check(1, quota(), 1);
    let sent = 5_000_700;
    // Short by 400 µs.
    table.learn(&asked, sent, &answer(&asked, 2900));
    for after in [0, 1, MICRO, 399 * MICRO] {
        let denial = denied(&table, &asked, sent + after).unwrap();
        assert_eq!(
            denial,
            answer(&asked, 2900 - after.div_ceil(MICRO)).decision
        );
        assert!(!denial.allowed);
    }
    // Within the last microsecond, what the server's clock shows is not known.
    for after in [399 * MICRO + 1, 400 * MICRO, 500 * MICRO, u64::MAX - sent] {
        assert_eq!(denied(&table, &asked, sent + after), None, "{after}");
    }
}

#[test]
fn an_answer_that_leaves_nothing_is_learnt_from_and_one_that_leaves_something_is_not() {
    let table = Table::new(8);
    let [last, other] = [1, 2].map(|n| check(n, quota(), 1));
    let emptied = answer(&last, 2000);
    assert!(emptied.decision.allowed);
    table.learn(&last, 0, &emptied);
    let denial = denied(&table, &last, 0).unwrap();
    assert_eq!((denial.remaining, denial.retry_after), (0, Some(500)));

    table.learn(&other, 0, &answer(&other, 1000));
    assert_eq!(denied(&table, &other, 0), None);
    assert_eq!(table.places.sizes().0, 1);
}

#[test]
fn the_cost_counts() {
    let table = Table::new(8);
    let dear = check(1, quota(), 3);
    // One is left, so that 2 are denied until another comes, and 3 for longer.
    table.learn(&dear, 0, &answer(&dear, 2500));
    let denial = |cost, after| denied(&table, &check(1, quota(), cost), after * MICRO);
    for cost in [0, 1] {
        assert_eq!(denial(cost, 0), None);
    }
    let two = denial(2, 100).unwrap();
    assert_eq!((two.remaining, two.retry_after), (1, Some(900)));
    assert!(denial(2, 999).is_some() && denial(2, 1000).is_none());
    assert!(denial(3, 1999).is_some() && denial(3, 2000).is_none());
    let never = denial(4, 0).unwrap();
    assert_eq!((never.allowed, never.retry_after), (false, None));
    assert!(denial(u64::MAX, 0).is_some());
    // A question spends nothing, and tells nothing that was worth a place.
    table.learn(
        &check(2, quota(), 0),
        0,
        &answer(&check(2, quota(), 0), 3500),
    );
    assert_eq!(denied(&table, &check(2, quota(), 1), 0), None);
}

#[test]
fn nobody_is_denied_for_another() {
    let table = Table::new(8);
    let asked = check(1, quota(), 1);
    table.learn(&asked, 0, &answer(&asked, 3500));
    assert!(denied(&table, &asked, 0).is_some());
    assert_eq!(denied(&table, &check(2, quota(), 1), 0), None);
    // A reload changed the limit.
    for (interval, burst) in [(1000, 3501), (1001, 3500), (1, 3500)] {
        let quota = Quota::new(interval, burst).unwrap();
        assert_eq!(denied(&table, &check(1, quota, 1), 0), None);
    }
}

#[test]
fn an_old_answer_is_not_believed() {
    let table = Table::new(8);
    let hour = 3_600_000_000;
    let asked = check(1, Quota::new(hour, hour).unwrap(), 1);
    table.learn(&asked, 7, &answer(&asked, hour));
    assert!(denied(&table, &asked, 7 + BELIEVED_NANOS - 1).is_some());
    assert_eq!(denied(&table, &asked, 7 + BELIEVED_NANOS), None);
    // The server still denies: believed again.
    table.learn(&asked, 7 + BELIEVED_NANOS, &answer(&asked, hour - 1));
    assert!(denied(&table, &asked, 7 + BELIEVED_NANOS).is_some());
}

#[test]
fn of_two_answers_the_one_asked_for_later_counts() {
    let asked = check(1, quota(), 1);
    for order in [[(0, 3500), (100, 2700)], [(100, 2700), (0, 3500)]] {
        let table = Table::new(8);
        for (sent, debt) in order {
            table.learn(&asked, sent * MICRO, &answer(&asked, debt));
        }
        let denial = denied(&table, &asked, 100 * MICRO).unwrap();
        assert_eq!(denial.retry_after, Some(200));
    }
    // The server forgot, and says so to a check that was on its way.
    let table = Table::new(8);
    table.learn(&asked, 0, &answer(&asked, 3500));
    table.learn(&asked, 1, &answer(&asked, 0));
    assert_eq!(denied(&table, &asked, 1), None);
    // A clock that was read just before the check of another thread was sent.
    let table = Table::new(8);
    table.learn(&asked, 100 * MICRO, &answer(&asked, 3500));
    assert_eq!(
        denied(&table, &asked, 0),
        Some(answer(&asked, 3500).decision)
    );
}

#[test]
fn the_table_never_grows_past_its_places() {
    for entries in [1, 8, 9, 1000] {
        let table = Table::new(entries);
        let asked = |n| check(n, quota(), 1);
        for n in 0..20_000 {
            table.learn(&asked(n), u64::from(n), &answer(&asked(n), 3500));
            // The newcomer always finds a place.
            assert!(denied(&table, &asked(n), u64::from(n)).is_some());
        }
        let (_, places) = table.places.sizes();
        assert_eq!(places, entries.next_multiple_of(WAYS));
        let kept = (0..20_000).filter(|&n| denied(&table, &asked(n), 20_000).is_some());
        assert_eq!(kept.count(), places);
        // Who was pushed out would have been denied for longer.
        assert_eq!(table.learnt.load(Ordering::Relaxed), 20_000);
        let evictions = table.evictions.load(Ordering::Relaxed);
        assert_eq!(evictions, 20_000 - places as u64);
    }
    assert!(size_of::<Entry>() <= 56);
}

#[test]
fn a_place_that_denies_nobody_is_not_taken_from_anybody() {
    let table = Table::new(1);
    let asked = |n| check(n, quota(), 1);
    for round in 0..2 {
        for n in 0..8 {
            let n = 8 * round + n;
            // By the second round, the first one's debts are paid.
            let sent = u64::from(round) * 3501 * MICRO;
            table.learn(&asked(n), sent, &answer(&asked(n), 3500));
        }
    }
    assert_eq!(table.learnt.load(Ordering::Relaxed), 16);
    assert_eq!(table.evictions.load(Ordering::Relaxed), 0);
}

/// One check as it travels: µs and ns until it is sent after the one before, on its way
/// there, and on its way back.
#[derive(Debug, Clone)]
struct Journey {
    client: u32,
    cost: u64,
    pause: u64,
    there: u64,
    back: u64,
}

fn journey() -> impl Strategy<Value = Journey> {
    let cost = prop_oneof![8 => Just(1u64), 3 => 0..6u64, 1 => Just(1_000_000)];
    let pause = prop_oneof![6 => 0..400_000u64, 2 => 0..5_000_000u64, 1 => 0..1_500_000_000u64];
    let way = || prop_oneof![Just(0u64), 0..3000u64, 0..4_000_000u64];
    (0..3u32, cost, pause, way(), way()).prop_map(|(client, cost, pause, there, back)| Journey {
        client,
        cost,
        pause,
        there,
        back,
    })
}

/// What happens next, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Returns(i64),
    Sent,
}

/// Answers take their time and overtake each other, and the server's clock is ahead by
/// anything. Whatever is denied here, the server would have denied had it been asked at
/// that instant, and for as long or longer.
#[test]
fn what_is_denied_here_the_server_would_deny_now() {
    let mut runner = TestRunner::new(Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    });
    let quotas = prop_oneof![
        Just((1000, 3500)),
        Just((1000, 1000)),
        Just((7, 20)),
        Just((333_334, 1_000_001)),
        Just((3_600_000_000, 7_200_000_000)),
    ];
    let cases = (quotas, 0..5000u64, vec(journey(), 1..120));
    let denials = std::cell::Cell::new(0u64);
    let asked = std::cell::Cell::new(0u64);
    let outcome = runner.run(&cases, |((interval, burst), ahead, journeys)| {
        let quota = Quota::new(interval, burst).unwrap();
        let table = Table::new(8);
        let server_clock = |now: u64| (1_000_000_000 + now + ahead) / 1000;
        let mut tats: [Option<u64>; 3] = [None; 3];
        // (when in ns, what, which journey, when it was sent)
        let mut events = std::collections::BTreeSet::new();
        let mut now = 0;
        for (n, journey) in journeys.iter().enumerate() {
            now += journey.pause;
            events.insert((now, Event::Sent, n, now));
        }
        while let Some((now, event, n, sent)) = events.pop_first() {
            let journey = &journeys[n];
            let check = check(journey.client, quota, journey.cost);
            let tat = &mut tats[journey.client as usize];
            let outcome = gcra::decide(quota, *tat, server_clock(now), journey.cost);
            let truth = Decision::from_room(quota, journey.cost, outcome.room);
            match event {
                Event::Sent => match denied(&table, &check, now) {
                    None => {
                        asked.set(asked.get() + 1);
                        events.insert((now + journey.there, Event::Arrives, n, sent));
                    }
                    Some(denial) => {
                        denials.set(denials.get() + 1);
                        prop_assert!(!denial.allowed);
                        prop_assert!(!truth.allowed, "{:?}, but {:?}", denial, truth);
                        prop_assert!(denial.retry_after <= truth.retry_after);
                        prop_assert!(denial.reset_after <= truth.reset_after);
                        prop_assert!(denial.remaining >= truth.remaining);
                    }
                },
                Event::Arrives => {
                    *tat = outcome.store.or(*tat);
                    let back = now + journey.back;
                    events.insert((back, Event::Returns(outcome.room), n, sent));
                }
                Event::Returns(room) => {
                    let decision = Decision::from_room(quota, journey.cost, room);
                    table.learn(&check, sent, &verdict(decision));
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // It was not all one or the other.
    assert!(denials.get() > 5000, "{}", denials.get());
    assert!(asked.get() > 5000, "{}", asked.get());
}

#[test]
fn of_several_denials_the_longest_is_told() {
    let limits = [(1, 1_000), (2, 1_000_000)].map(|(n, interval)| {
        let id = LimitId::new(NonZeroU32::new(n).unwrap());
        Limit::named(&n.to_string(), id, Quota::new(interval, interval).unwrap())
    });
    let asked = Check {
        policy: Arc::new(Policy::new("several", limits.to_vec()).unwrap()),
        ..check(1, quota(), 1)
    };
    let table = Table::new(8);
    for (limit, reset_after) in [(0, 900), (1, 900_000)] {
        let decision = Decision {
            allowed: false,
            reset_after,
            ..Decision::UNLIMITED
        };
        let said = Verdict {
            limit,
            ..verdict(decision)
        };
        table.learn(&asked, 0, &said);
    }
    let denial = table.denial(&asked, 0).unwrap();
    assert_eq!(denial.limit, 1);
    assert_eq!(denial.decision.retry_after, Some(900_000));
}
