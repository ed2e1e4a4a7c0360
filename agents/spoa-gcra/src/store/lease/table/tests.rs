//! The bounds of leases against an oracle: several agents, answers that are late or lost, and
//! every window of time. And the edges in time, key and room.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::gcra::Quota;
use crate::policy::{Limit, LimitId};
use crate::store::memory::MemoryStore;

const MILLI: u64 = 1_000_000;

fn policy(limits: &[(u64, u64)], lease: Lease) -> Arc<Policy> {
    let limits = limits.iter().zip(1u32..).map(|(&(interval, burst), n)| {
        let id = LimitId::new(NonZeroU32::new(n).unwrap());
        Limit::named(&n.to_string(), id, Quota::new(interval, burst).unwrap())
    });
    let policy = Policy::new("leased", limits.collect()).unwrap();
    Arc::new(policy.with_lease(lease).unwrap())
}

/// 5 of 20 at once, 10 ms each; good for 100 ms.
fn usual() -> (Arc<Policy>, Lease) {
    let lease = Lease::new(5, Duration::from_millis(100)).unwrap();
    (policy(&[(10_000, 200_000)], lease), lease)
}

fn check(n: u32, policy: &Arc<Policy>) -> Check {
    Check {
        client: Client(IpAddr::V4(Ipv4Addr::from_bits(n))),
        policy: Arc::clone(policy),
        cost: 1,
        count: 1,
        deadline: Instant::now(),
    }
}

/// An answer that grants so many, after which all is there again in `reset_after` µs.
fn grants(granted: u32, reset_after: u64) -> Verdict {
    Verdict {
        decision: Decision {
            allowed: granted > 0,
            reset_after,
            ..Decision::UNLIMITED
        },
        limit: 0,
        granted,
        source: Source::Valkey,
    }
}

fn counts(table: &Table) -> [u64; 4] {
    [&table.taken, &table.granted, &table.spent, &table.expired]
        .map(|count| count.load(Ordering::Relaxed))
}

/// A table in which this client holds what a lease of 5 leaves, asked for at `sent`.
fn holding(check: &Check, lease: Lease, sent: u64) -> Table {
    let table = Table::new(8);
    assert_eq!(table.next(check, lease, sent), Next::Ask);
    assert_eq!(table.next(check, lease, sent), Next::AskForLease);
    table.take(check, lease, sent, &grants(5, 10_000));
    table
}

fn spends(table: &Table, check: &Check, lease: Lease, now: u64) -> bool {
    matches!(table.next(check, lease, now), Next::Spent(_))
}

#[test]
fn the_second_request_takes_a_lease_and_the_next_ones_spend_it() {
    let (policy, lease) = usual();
    let asked = check(1, &policy);
    let table = Table::new(8);
    assert_eq!(table.next(&asked, lease, 0), Next::Ask);
    assert_eq!(table.next(&asked, lease, 40 * MILLI), Next::AskForLease);
    // What comes before the answer is asked about by itself.
    assert_eq!(table.next(&asked, lease, 41 * MILLI), Next::Ask);
    table.take(&asked, lease, 40 * MILLI, &grants(5, 20_000));

    // The server's TAT is 20 ms ahead of 40 ms; each request is another 10 ms.
    for (at, reset_after, remaining) in [
        (45, 25_000, 17),
        (45, 35_000, 16),
        (100, 10_000, 19),
        (139, 10_000, 19),
    ] {
        let Next::Spent(verdict) = table.next(&asked, lease, at * MILLI) else {
            panic!("not spent at {at}");
        };
        assert_eq!((verdict.granted, verdict.source), (1, Source::Lease));
        let decision = Decision {
            allowed: true,
            limit: 20,
            remaining,
            reset_after,
            retry_after: None,
        };
        assert_eq!(verdict.decision, decision, "{at}");
    }
    assert_eq!(table.next(&asked, lease, 139 * MILLI), Next::AskForLease);
    assert_eq!(counts(&table), [1, 4, 4, 0]);
}

#[test]
fn tokens_are_good_until_their_time_from_the_sending() {
    let (policy, lease) = usual();
    let asked = check(1, &policy);
    let table = holding(&asked, lease, 7);
    assert!(spends(&table, &asked, lease, 7 + 100 * MILLI - 1));
    // A clock that another thread read before.
    assert!(spends(&table, &asked, lease, 0));
    assert_eq!(table.next(&asked, lease, 7 + 100 * MILLI), Next::Ask);
    assert_eq!(counts(&table), [1, 4, 2, 2]);
    assert_eq!(
        table.next(&asked, lease, 7 + 100 * MILLI),
        Next::AskForLease
    );
}

#[test]
fn a_client_that_comes_seldom_takes_no_lease() {
    let (policy, lease) = usual();
    let table = Table::new(8);
    for n in 0..10 {
        let next = table.next(&check(1, &policy), lease, n * 100 * MILLI);
        assert_eq!(next, Next::Ask);
    }
}

#[test]
fn a_lease_that_was_not_granted_in_full_is_what_it_is() {
    let (policy, lease) = usual();
    let asked = check(1, &policy);
    for granted in [0, 1, 2, 5, 6, u32::MAX] {
        let table = Table::new(8);
        assert_eq!(table.next(&asked, lease, 0), Next::Ask);
        assert_eq!(table.next(&asked, lease, 0), Next::AskForLease);
        table.take(&asked, lease, 0, &grants(granted, 200_000));
        let tokens = granted.clamp(1, 5) - 1;
        for _ in 0..tokens {
            assert!(spends(&table, &asked, lease, 1), "{granted}");
        }
        assert_eq!(table.next(&asked, lease, 1), Next::AskForLease);
        let tokens = u64::from(tokens);
        assert_eq!(counts(&table), [tokens.min(1), tokens, tokens, 0]);
    }
}

#[test]
fn there_is_one_lease_at_a_time_even_if_its_answer_is_lost() {
    let (policy, lease) = usual();
    let asked = check(1, &policy);
    let table = Table::new(8);
    let sent = 5 * MILLI;
    assert_eq!(table.next(&asked, lease, 0), Next::Ask);
    assert_eq!(table.next(&asked, lease, sent), Next::AskForLease);
    for now in [sent, sent + 50 * MILLI, sent + 100 * MILLI] {
        assert_eq!(table.next(&asked, lease, now), Next::Ask);
    }
    let again = sent + 100 * MILLI + 1;
    assert_eq!(table.next(&asked, lease, again), Next::AskForLease);
    // The first answer, after all. It would be a second lease.
    table.take(&asked, lease, sent, &grants(5, 10_000));
    assert_eq!(table.next(&asked, lease, again), Next::Ask);
    assert_eq!(counts(&table), [1, 4, 0, 4]);
    table.take(&asked, lease, again, &grants(5, 10_000));
    assert!(spends(&table, &asked, lease, again));
}

#[test]
fn nobody_spends_what_is_anothers() {
    let (policy, lease) = usual();
    let (reloaded, _) = usual();
    let table = holding(&check(1, &policy), lease, 0);
    assert_eq!(table.next(&check(2, &policy), lease, 0), Next::Ask);
    assert_eq!(table.next(&check(1, &reloaded), lease, 0), Next::Ask);
    assert!(spends(&table, &check(1, &policy), lease, 0));
}

#[test]
fn the_table_never_grows_past_its_places_and_leases_keep_theirs() {
    let (policy, lease) = usual();
    let table = Table::new(16);
    let held: Vec<_> = (0..4).map(|n| check(n, &policy)).collect();
    for check in &held {
        assert_eq!(table.next(check, lease, 0), Next::Ask);
        assert_eq!(table.next(check, lease, 0), Next::AskForLease);
        table.take(check, lease, 0, &grants(5, 10_000));
    }
    for n in 100..10_000 {
        let newcomer = check(n, &policy);
        assert_eq!(table.next(&newcomer, lease, 1), Next::Ask);
        // There are places for it: whoever comes twice in a row takes a lease. It is not
        // answered, so the place is kept.
        if n % 1000 == 0 {
            table.next(&newcomer, lease, 1);
        }
    }
    for check in &held {
        assert!(spends(&table, check, lease, 2));
    }
    assert_eq!(table.places.sizes(), (16, 16));

    // All are held: newcomers go without.
    let table = Table::new(8);
    for n in 0..16 {
        let next = [(); 2].map(|()| table.next(&check(n, &policy), lease, u64::from(n)));
        let held = if n < 8 { Next::AskForLease } else { Next::Ask };
        assert_eq!(next, [Next::Ask, held]);
        table.take(&check(n, &policy), lease, n.into(), &grants(5, 10_000));
    }
    // Until the first is over.
    let newcomer = check(20, &policy);
    let now = 100 * MILLI;
    assert_eq!(table.next(&newcomer, lease, now), Next::Ask);
    assert_eq!(table.next(&newcomer, lease, now), Next::AskForLease);
    assert_eq!(counts(&table)[3], 4 + 8 * 4);
    assert!(size_of::<Entry>() <= 80);
}

#[test]
fn a_policy_that_is_no_longer_in_force_is_not_kept() {
    let (policy, lease) = usual();
    let _table = holding(&check(1, &policy), lease, 0);
    assert_eq!(Arc::strong_count(&policy), 1);
}

/// One check as it travels: ns until it is sent after the one before, on its way there and on
/// its way back.
#[derive(Debug, Clone)]
struct Journey {
    agent: usize,
    client: u32,
    cost: u64,
    pause: u64,
    there: u64,
    back: u64,
    /// Nobody waits for the answer any more.
    lost: bool,
}

const LONGEST_WAY: u64 = 30 * MILLI;

fn journey() -> impl Strategy<Value = Journey> {
    let cost = prop_oneof![12 => Just(1u64), 1 => 0..4u64];
    let pause = prop_oneof![
        24 => Just(0),
        4 => 0..2 * MILLI,
        2 => 0..20 * MILLI,
        2 => 0..400 * MILLI,
        1 => 0..3000 * MILLI,
    ];
    let way = || prop_oneof![4 => Just(0u64), 4 => 0..MILLI, 1 => 0..LONGEST_WAY];
    let lost = prop_oneof![15 => Just(false), 1 => Just(true)];
    let whose = (0..4usize, prop_oneof![4 => Just(0u32), 1 => Just(1)], cost);
    (whose, pause, way(), way(), lost).prop_map(
        |((agent, client, cost), pause, there, back, lost)| Journey {
            agent,
            client,
            cost,
            pause,
            there,
            back,
            lost,
        },
    )
}

/// What happens next, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives { lease: bool },
    Returns { granted: u32, reset_after: u64 },
    Sent,
}

/// What became of the budget of one client, in µs of the server's clock.
#[derive(Debug, Default)]
struct Ledger {
    /// When, and the cost of what passed.
    admitted: Vec<(u64, u64)>,
    /// When the server granted tokens, and when one was spent (-1).
    tokens: Vec<(u64, i64)>,
}

/// The most by which the amounts in any stretch of entries exceed its length × `rate`.
fn excess(entries: impl Iterator<Item = (u64, i64)>, rate: i64) -> i64 {
    let (mut sum, mut least, mut most) = (0, i64::MAX, 0);
    for (time, amount) in entries {
        // The sum less the time so far; a stretch may begin with any entry.
        let passed = time as i64 * rate;
        least = least.min(sum - passed);
        sum += amount;
        most = most.max(sum - passed - least);
    }
    most
}

/// Both bounds of the module's table, in every window, for agents that share a server: checks
/// overtake each other, answers get lost, and dearer checks and questions come in between.
#[test]
fn no_schedule_exceeds_the_bounds() {
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let limits = prop_oneof![
        Just(vec![(10_000, 200_000)]),
        Just(vec![(1000, 8000)]),
        Just(vec![(7, 200)]),
        Just(vec![(333_334, 4_000_009)]),
        Just(vec![(10_000, 200_000), (100_000, 1_700_000)]),
    ];
    let ttl = prop_oneof![Just(1u64), Just(50), Just(1000), Just(60_000)];
    let cases = (limits, 2..6u32, ttl, 1..5usize, vec(journey(), 1..150));
    // How often the exact limit was exceeded, how close both bounds came to be reached in %,
    // and how many tokens were spent: otherwise, this would test nothing.
    let [over, most_over, most_unspent, spent] = [0i64; 4].map(std::cell::Cell::new);

    let outcome = runner.run(&cases, |(limits, tokens, ttl, agents, journeys)| {
        let smallest = limits
            .iter()
            .map(|(interval, burst)| burst / interval)
            .min();
        let tokens = tokens.min(smallest.unwrap() as u32 / 4);
        let lease = Lease::new(tokens, Duration::from_millis(ttl)).unwrap();
        let policy = policy(&limits, lease);
        let server = MemoryStore::new(100);
        let tables: Vec<_> = (0..agents).map(|_| Table::new(8)).collect();
        let mut ledgers = [Ledger::default(), Ledger::default()];

        let mut events = BTreeSet::new();
        let mut now = 0;
        for (n, journey) in journeys.iter().enumerate() {
            now += journey.pause;
            events.insert((now, Event::Sent, n, now));
        }
        while let Some((now, event, n, sent)) = events.pop_first() {
            let journey = &journeys[n];
            let table = &tables[journey.agent % agents];
            let ledger = &mut ledgers[journey.client as usize];
            let check = Check {
                cost: journey.cost,
                ..check(journey.client, &policy)
            };
            let micros = now / 1000;
            match event {
                Event::Sent => {
                    // What the service does.
                    let next = match Lease::covers(&check) {
                        true => table.next(&check, lease, now),
                        false => Next::Ask,
                    };
                    let arrives = |lease| (now + journey.there, Event::Arrives { lease }, n, sent);
                    match next {
                        Next::Spent(verdict) => {
                            spent.set(spent.get() + 1);
                            ledger.admitted.push((micros, 1));
                            ledger.tokens.push((micros, -1));
                            let decision = verdict.decision;
                            prop_assert!(decision.allowed && decision.remaining < decision.limit);
                            let quota = policy.limits()[verdict.limit].quota();
                            prop_assert!(decision.reset_after >= quota.interval());
                            prop_assert!(decision.reset_after <= quota.burst());
                        }
                        Next::Ask => {
                            events.insert(arrives(false));
                        }
                        Next::AskForLease => {
                            events.insert(arrives(true));
                        }
                    }
                }
                Event::Arrives { lease: asked } => {
                    let count = if asked { tokens } else { 1 };
                    let check = Check { count, ..check };
                    let verdict = server.decide_at(&check, micros);
                    let granted = verdict.granted;
                    if granted > 0 && check.cost > 0 {
                        ledger.admitted.push((micros, check.cost));
                    }
                    if granted > 1 {
                        ledger.tokens.push((micros, i64::from(granted) - 1));
                    }
                    if asked && !journey.lost {
                        let reset_after = verdict.decision.reset_after;
                        let returns = Event::Returns {
                            granted,
                            reset_after,
                        };
                        events.insert((now + journey.back, returns, n, sent));
                    }
                }
                Event::Returns {
                    granted,
                    reset_after,
                } => {
                    table.take(&check, lease, sent, &grants(granted, reset_after));
                }
            }
        }

        let held = agents as i64 * (i64::from(tokens) - 1);
        let micros = ttl as i64 * 1000;
        for ledger in &ledgers {
            for &(interval, burst) in &limits {
                let spent = ledger.admitted.iter();
                let spent = spent.map(|&(time, cost)| (time, (cost * interval) as i64));
                let beyond = excess(spent, 1) - burst as i64;
                let bound = held * interval as i64;
                prop_assert!(beyond <= bound, "{} µs over", beyond);
                over.set(over.get() + i64::from(beyond > 0));
                most_over.set(most_over.get().max(beyond * 100 / bound));
            }
            let unspent = ledger.tokens.iter();
            let unspent = unspent.map(|&(time, tokens)| (time, tokens * micros));
            let beyond = excess(unspent, held);
            // Rounded to whole µs.
            let bound = held * (micros + LONGEST_WAY as i64 / 1000 + 1);
            prop_assert!(beyond <= bound, "{} of {}", beyond, bound);
            most_unspent.set(most_unspent.get().max(beyond * 100 / bound));
        }
        // Every token is somewhere.
        for table in &tables {
            let mut left = 0;
            for client in 0..2 {
                for entry in table.set(&check(client, &policy)).iter() {
                    if let State::Held(tokens) = &entry.state
                        && entry.is_of(&check(client, &policy))
                    {
                        left += u64::from(tokens.left);
                    }
                }
            }
            let [_, granted, spent, expired] = counts(table);
            prop_assert_eq!(granted, spent + expired + left);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let seen = [spent, over, most_over, most_unspent].map(std::cell::Cell::into_inner);
    let [spent, over, most_over, most_unspent] = seen;
    println!(
        "{spent} tokens spent; the burst exceeded {over} times; of the bounds, \
         {most_over} % and {most_unspent} % were reached"
    );
    assert!(spent > 1000 && over > 0 && most_unspent > 40);
}
