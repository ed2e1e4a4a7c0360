//! One run of the script for many requests: what each is told, as if they had come one by one.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;

use super::oracle::Oracle;
use super::*;
use crate::gcra::{Budget, MAX_COST};
use crate::policy::{Limit, LimitId, Policy};
use crate::store::Client;

/// µs since the epoch, in 2026.
const NOW: u64 = 1_767_225_600_000_000;

fn check(quotas: &[Quota], cost: u64, count: u32) -> Check {
    let limit = |(number, &quota): (NonZeroU32, &Quota)| {
        Limit::named(&number.to_string(), LimitId::new(number), quota)
    };
    let numbers = (1..).filter_map(NonZeroU32::new);
    let limits = numbers.zip(quotas).map(limit).collect();
    Check {
        client: Client([192, 0, 2, 7].into()),
        policy: Arc::new(Policy::new("of tests", limits).unwrap()),
        cost,
        count,
        deadline: Instant::now(),
    }
}

fn quota() -> impl Strategy<Value = Quota> {
    (1..=12u64, 0..=60u64)
        .prop_map(|(interval, more)| Quota::new(interval, interval + more).unwrap())
}

fn rooms(check: &Check, tats: &[Option<u64>]) -> Rooms {
    let limits = check.policy.limits().iter().zip(tats);
    Rooms::new(limits.map(|(limit, tat)| Budget::at(NOW, limit.quota(), *tat).room(check.cost)))
}

#[test]
fn without_a_limit_everything_passes() {
    let verdict = Rooms::default().verdict(&check(&[], 3, 7), 5, Source::Valkey);
    assert_eq!(verdict.decision, Decision::UNLIMITED);
    assert_eq!((verdict.limit, verdict.granted), (0, 7));
}

#[test]
fn the_numbers_are_those_of_the_strictest_limit() {
    let [small, large] =
        [(10, 30), (5, 100)].map(|(interval, burst)| Quota::new(interval, burst).unwrap());
    let check = check(&[large, small, small], 1, 1);
    for (rooms, allowed, limit, retry_after) in [
        ([95, 20, 20], true, 1, None),
        ([0, 20, 20], true, 0, None),
        ([95, 20, 9], true, 2, None),
        ([-1, 20, 20], false, 0, Some(1)),
        ([-1, 20, -2], false, 2, Some(2)),
        ([-3, 20, -2], false, 0, Some(3)),
        ([95, -2, -2], false, 1, Some(2)),
    ] {
        let verdict = Rooms::new(rooms).verdict(&check, 0, Source::Valkey);
        let decision = verdict.decision;
        assert_eq!(
            (decision.allowed, verdict.limit, decision.retry_after),
            (allowed, limit, retry_after),
            "{rooms:?}"
        );
        assert_eq!(verdict.granted, u32::from(allowed));
    }
}

#[test]
fn what_can_never_pass_is_stricter_than_any_wait() {
    let quotas = [(1, 1000), (1, 2)].map(|(interval, burst)| Quota::new(interval, burst).unwrap());
    let verdict = Rooms::new([-500, -1]).verdict(&check(&quotas, 3, 1), 0, Source::Valkey);
    assert_eq!((verdict.limit, verdict.decision.retry_after), (1, None));
}

proptest! {
    /// Askers share one run: each learns what it would have learnt, had it come by itself,
    /// right after those before it.
    #[test]
    fn those_who_share_a_run_learn_what_each_would_alone(
        quotas in vec(quota(), 0..=MAX_LIMITS),
        spent in vec((0..=3u64, 0..=5u32), 0..4),
        cost in 0..=4u64,
        counts in vec(1..=9u32, 1..6),
    ) {
        let mut oracle = Oracle::default();
        for (cost, count) in spent {
            oracle.decide(&check(&quotas, cost, count), NOW, Source::Valkey);
        }
        let debts = oracle.debts(NOW);
        let tat = |limit: &Limit| debts.iter().find(|debt| debt.1 == limit.id()).map(|debt| debt.2);
        let first = check(&quotas, cost, 1);
        let tats: Vec<_> = first.policy.limits().iter().map(tat).collect();
        let shared = rooms(&first, &tats);
        let mut before = 0;
        for count in counts {
            let check = check(&quotas, cost, count);
            let alone = oracle.decide(&check, NOW, Source::Valkey);
            prop_assert_eq!(shared.verdict(&check, before, Source::Valkey), alone);
            before += u64::from(count);
        }
    }

    /// Whatever a server answers, the numbers are in range and nothing overflows.
    #[test]
    fn any_rooms_give_a_verdict_in_range(
        quotas in vec(quota(), 1..=MAX_LIMITS),
        rooms in any::<[i64; MAX_LIMITS]>(),
        cost in prop_oneof![1..=4u64, 1..=MAX_COST, 1..=u64::MAX],
        count in any::<u32>(),
        before in any::<u64>(),
    ) {
        let check = check(&quotas, cost, count);
        let verdict = Rooms::new(rooms).verdict(&check, before, Source::Valkey);
        prop_assert!(verdict.granted <= count);
        prop_assert!(verdict.decision.allowed || verdict.granted == 0);
        let quota = check.policy.limits()[verdict.limit].quota();
        prop_assert_eq!(verdict.decision.limit, quota.limit());
        prop_assert!(verdict.decision.remaining <= quota.limit());
        prop_assert!(verdict.decision.reset_after <= quota.burst());
        if let Some(wait) = verdict.decision.retry_after {
            prop_assert!((1..=increment(quota, cost)).contains(&wait));
        }
    }
}
