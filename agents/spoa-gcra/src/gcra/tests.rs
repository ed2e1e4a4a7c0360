//! The invariants of the algorithm, as examples and as properties over random quotas,
//! stored values and schedules.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A clock reading like the ones in use: 2026 in µs since 1970.
const NOW: u64 = 1_767_225_600_000_000;

/// 100 requests/s, 20 at once: the agent's defaults.
fn defaults() -> Quota {
    Quota::new(10_000, 200_000).unwrap()
}

/// One client's state and the writes that `decide` asked for.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    quota: Quota,
    tat: Option<u64>,
}

impl Bucket {
    fn new(quota: Quota) -> Self {
        Self { quota, tat: None }
    }

    fn ask(&mut self, now: u64, cost: u64) -> Decision {
        let outcome = decide(self.quota, self.tat, now, cost);
        if outcome.store.is_some() {
            self.tat = outcome.store;
        }
        Decision::from_room(self.quota, cost, outcome.room)
    }
}

/// Small numbers, where boundaries meet, and any order of magnitude up to the limits.
fn quota() -> impl Strategy<Value = Quota> {
    let small = (1..=12u64, 1..=6u64, 0..12u64)
        .prop_map(|(interval, limit, extra)| (interval, interval * limit + extra));
    let any = (magnitude(MAX_MICROS), magnitude(MAX_MICROS)).prop_map(|(a, b)| {
        let (interval, burst) = (a.min(b).max(1), a.max(b).max(1));
        (interval, burst)
    });
    prop_oneof![3 => small, 1 => any]
        .prop_map(|(interval, burst)| Quota::new(interval, burst).unwrap())
}

/// A number of any order of magnitude, `0..=max`.
fn magnitude(max: u64) -> impl Strategy<Value = u64> {
    (0..=64u32, any::<u64>()).prop_map(move |(bits, n)| {
        let masked = if bits == 0 { 0 } else { n >> (64 - bits) };
        masked.min(max)
    })
}

/// Steps of time in halves of an interval, and costs: `(half_intervals, jitter, cost)`.
fn schedule() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    vec((0..=5u64, 0..=2u64, 0..=3u64), 1..60)
}

/// The schedule's instants for this quota: never going back.
fn instants(quota: Quota, schedule: &[(u64, u64, u64)]) -> Vec<(u64, u64)> {
    let mut now = NOW;
    let step = |(halves, jitter, cost): &(u64, u64, u64)| {
        now += halves * quota.interval() / 2 + jitter;
        (now, *cost)
    };
    schedule.iter().map(step).collect()
}

/// What a store can hold: nothing, a plausible TAT, or anything at all.
fn stored(quota: Quota) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        3 => (0..=quota.burst()).prop_map(|ahead| Some(NOW + ahead)),
        1 => any::<u64>().prop_map(Some),
    ]
}

fn quota_and_stored() -> impl Strategy<Value = (Quota, Option<u64>)> {
    quota().prop_flat_map(|quota| (Just(quota), stored(quota)))
}

#[test]
fn a_quota_needs_an_interval_and_a_burst_of_at_least_one() {
    assert_eq!(Quota::new(0, 1), Err(QuotaError::Interval));
    assert_eq!(Quota::new(0, 0), Err(QuotaError::Interval));
    assert_eq!(
        Quota::new(MAX_MICROS + 1, MAX_MICROS + 1),
        Err(QuotaError::Interval)
    );
    assert_eq!(Quota::new(u64::MAX, u64::MAX), Err(QuotaError::Interval));
    assert_eq!(Quota::new(10, 9), Err(QuotaError::Burst));
    assert_eq!(Quota::new(10, 0), Err(QuotaError::Burst));
    assert_eq!(Quota::new(10, MAX_MICROS + 1), Err(QuotaError::Burst));
    assert_eq!(Quota::new(10, u64::MAX), Err(QuotaError::Burst));

    let least = Quota::new(1, 1).unwrap();
    assert_eq!((least.interval(), least.burst(), least.limit()), (1, 1, 1));
    assert_eq!(Quota::new(MAX_MICROS, MAX_MICROS).unwrap().limit(), 1);
    assert_eq!(Quota::new(1, MAX_MICROS).unwrap().limit(), MAX_MICROS);
    assert_eq!(
        Quota::new(7, 20).unwrap().limit(),
        2,
        "parts of a request do not count"
    );
}

#[test]
fn the_defaults_pass_twenty_at_once_and_the_next_after_ten_milliseconds() {
    let mut bucket = Bucket::new(defaults());
    for left in (0..20).rev() {
        let decision = bucket.ask(NOW, 1);
        assert!(decision.allowed);
        assert_eq!(decision.limit, 20);
        assert_eq!(decision.remaining, left);
        assert_eq!(decision.reset_after, (20 - left) * 10_000);
        assert_eq!(decision.retry_after, None);
    }
    let denied = Decision {
        allowed: false,
        limit: 20,
        remaining: 0,
        reset_after: 200_000,
        retry_after: Some(10_000),
    };
    assert_eq!(bucket.ask(NOW, 1), denied);
    assert!(!bucket.ask(NOW + 9_999, 1).allowed);
    assert!(bucket.ask(NOW + 10_000, 1).allowed);
    assert!(!bucket.ask(NOW + 10_000, 1).allowed);
}

#[test]
fn from_room_says_what_each_room_means() {
    let decision = |allowed, remaining, reset_after, retry_after| Decision {
        allowed,
        limit: 20,
        remaining,
        reset_after,
        retry_after,
    };
    let rows = [
        // cost, room, meaning
        (1, 190_000, decision(true, 19, 10_000, None)),
        (1, 10_000, decision(true, 1, 190_000, None)),
        (1, 9_999, decision(true, 0, 190_001, None)),
        (1, 0, decision(true, 0, 200_000, None)),
        (1, -1, decision(false, 0, 190_001, Some(1))),
        (1, -10_000, decision(false, 0, 200_000, Some(10_000))),
        (5, -1, decision(false, 4, 150_001, Some(1))),
        (5, -50_000, decision(false, 0, 200_000, Some(50_000))),
        (20, 0, decision(true, 0, 200_000, None)),
        (21, -10_000, decision(false, 20, 0, None)),
        (21, -210_000, decision(false, 0, 200_000, None)),
        (0, 200_000, decision(true, 20, 0, None)),
        (0, 0, decision(true, 0, 200_000, None)),
        // Rooms that no store under this quota can answer.
        (1, i64::MAX, decision(true, 19, 10_000, None)),
        (1, -10_001, decision(false, 0, 200_000, Some(10_000))),
        (1, i64::MIN, decision(false, 0, 200_000, Some(10_000))),
    ];
    for (cost, room, expected) in rows {
        assert_eq!(
            Decision::from_room(defaults(), cost, room),
            expected,
            "cost {cost}, room {room}"
        );
    }
}

#[test]
fn a_clock_at_the_end_of_time_still_limits() {
    let quota = Quota::new(10, 100).unwrap();
    for now in [u64::MAX, u64::MAX - 5, u64::MAX - 100, MAX_NOW + 1, MAX_NOW] {
        let mut bucket = Bucket::new(quota);
        let passed = (0..50).filter(|_| bucket.ask(now, 1).allowed).count();
        assert_eq!(passed, 10, "at {now}");
    }
}

#[test]
fn a_clock_that_goes_back_denies_for_one_increment_at_most() {
    let mut bucket = Bucket::new(defaults());
    assert!(bucket.ask(NOW, 1).allowed);
    let earlier = NOW - 3_600_000_000;
    assert_eq!(bucket.ask(earlier, 1).retry_after, Some(10_000));
    assert!(bucket.ask(earlier + 10_000, 1).allowed);
}

proptest! {
    #[test]
    fn the_first_burst_is_exactly_burst_over_interval(quota in quota()) {
        // One by one as far as that ends, then the rest in one request.
        let mut bucket = Bucket::new(quota);
        let limit = quota.burst() / quota.interval();
        let single = limit.min(64);
        for _ in 0..single {
            prop_assert!(bucket.ask(NOW, 1).allowed);
        }
        if limit > single {
            prop_assert!(bucket.ask(NOW, limit - single).allowed);
        }
        prop_assert!(!bucket.ask(NOW, 1).allowed);
        prop_assert_eq!(quota.limit(), limit);
    }

    /// Between any two admissions, both included, no more is spent than the burst and what
    /// the time between them refilled.
    #[test]
    fn no_window_admits_more_than_burst_and_refill(quota in quota(), schedule in schedule()) {
        let mut bucket = Bucket::new(quota);
        let admitted: Vec<(u64, u64)> = instants(quota, &schedule)
            .into_iter()
            .filter(|&(now, cost)| bucket.ask(now, cost).allowed)
            .collect();
        for (i, &(first, _)) in admitted.iter().enumerate() {
            let mut spent = 0;
            for &(last, cost) in &admitted[i..] {
                spent += increment(quota, cost);
                prop_assert!(spent <= quota.burst() + (last - first));
            }
        }
    }

    #[test]
    fn a_denial_stores_nothing_but_the_heal(
        (quota, tat) in quota_and_stored(), cost in magnitude(MAX_COST),
    ) {
        let outcome = decide(quota, tat, NOW, cost);
        if outcome.room < 0 {
            let latest = NOW + quota.burst();
            let healed = tat.filter(|&tat| tat > latest).map(|_| latest);
            prop_assert_eq!(outcome.store, healed);
        }
    }

    #[test]
    fn an_admission_raises_the_tat_by_its_cost_and_never_past_the_burst(
        (quota, tat) in quota_and_stored(), cost in 1..=8u64,
    ) {
        let outcome = decide(quota, tat, NOW, cost);
        let live = tat.unwrap_or(NOW).max(NOW);
        if outcome.room >= 0 {
            let stored = outcome.store.unwrap();
            prop_assert_eq!(stored, live + quota.interval() * cost);
            prop_assert_eq!(stored + outcome.room.unsigned_abs(), NOW + quota.burst());
        }
        if let Some(stored) = outcome.store {
            prop_assert!(stored > NOW && stored <= NOW + quota.burst());
        }
    }

    #[test]
    fn retry_after_is_exact(
        (quota, tat) in quota_and_stored(), cost in 1..=8u64,
    ) {
        let mut bucket = Bucket { quota, tat };
        let decision = bucket.ask(NOW, cost);
        if let Some(wait) = decision.retry_after {
            prop_assert!(!decision.allowed);
            prop_assert!(0 < wait && wait <= increment(quota, cost));
            prop_assert!(!bucket.ask(NOW + wait - 1, cost).allowed);
            prop_assert!(bucket.ask(NOW + wait, cost).allowed);
        } else {
            prop_assert_eq!(decision.allowed, cost <= quota.limit());
        }
    }

    /// `remaining` requests pass right now, no more; after `reset_after` the whole burst does.
    #[test]
    fn remaining_and_reset_after_are_exact(
        (quota, tat) in quota_and_stored(), cost in 0..=3u64,
    ) {
        let mut bucket = Bucket { quota, tat };
        let decision = bucket.ask(NOW, cost);
        prop_assert!(decision.remaining <= decision.limit);
        let mut now = bucket;
        prop_assert!(now.ask(NOW, decision.remaining).allowed);
        prop_assert!(!now.ask(NOW, 1).allowed);

        prop_assert!(decision.reset_after <= quota.burst());
        let whole = |after| decide(quota, bucket.tat, NOW + after, 0).room;
        let burst = i64::try_from(quota.burst()).unwrap();
        prop_assert_eq!(whole(decision.reset_after), burst);
        if decision.reset_after > 0 {
            prop_assert!(whole(decision.reset_after - 1) < burst);
        }
    }

    #[test]
    fn requests_spaced_by_their_own_cost_are_never_denied(
        quota in quota(), spaces in vec((0..=3u64, 1..=3u64), 1..40),
    ) {
        let mut bucket = Bucket::new(quota);
        let mut now = NOW;
        for (extra, cost) in spaces {
            if cost <= quota.limit() {
                prop_assert!(bucket.ask(now, cost).allowed);
                now += increment(quota, cost) + extra;
            }
        }
    }

    #[test]
    fn a_cost_above_the_limit_never_passes(
        (quota, tat) in quota_and_stored(), over in magnitude(u64::MAX),
    ) {
        let cost = quota.limit().saturating_add(1).saturating_add(over);
        let decision = Bucket { quota, tat }.ask(NOW, cost);
        prop_assert!(!decision.allowed);
        prop_assert_eq!(decision.retry_after, None);
    }

    #[test]
    fn cost_zero_is_always_allowed_and_stores_nothing_but_the_heal(
        (quota, tat) in quota_and_stored(),
    ) {
        let outcome = decide(quota, tat, NOW, 0);
        prop_assert!(outcome.room >= 0);
        prop_assert_eq!(outcome.store.is_some(), tat.is_some_and(|tat| tat > NOW + quota.burst()));
    }

    /// Forgetting a client once its TAT is past changes no later answer.
    #[test]
    fn an_expired_tat_is_as_good_as_none(
        quota in quota(), schedule in schedule(), forget in vec(any::<bool>(), 60),
    ) {
        let (mut keeping, mut forgetting) = (Bucket::new(quota), Bucket::new(quota));
        for ((now, cost), forget) in instants(quota, &schedule).into_iter().zip(forget) {
            if forget && forgetting.tat.is_some_and(|tat| tat <= now) {
                forgetting.tat = None;
            }
            prop_assert_eq!(keeping.ask(now, cost), forgetting.ask(now, cost));
        }
    }

    #[test]
    fn any_stored_value_denies_for_one_increment_at_most(
        quota in quota(), tat in any::<u64>(), now in 0..=NOW,
    ) {
        let mut bucket = Bucket { quota, tat: Some(tat) };
        bucket.ask(now, 1);
        prop_assert!(bucket.ask(now + quota.interval(), 1).allowed);
    }

    /// `n` requests at one instant are the same as one that takes all the room there is.
    #[test]
    fn coalescing_is_exact(
        (quota, tat) in quota_and_stored(), cost in 1..=4u64, n in 1..=40u64,
    ) {
        let mut one_by_one = Bucket { quota, tat };
        let admitted = (0..n).filter(|_| one_by_one.ask(NOW, cost).allowed).count() as u64;

        let used = tat.unwrap_or(0).clamp(NOW, NOW + quota.burst()) - NOW;
        let fit = (quota.burst() - used) / increment(quota, cost);
        prop_assert_eq!(admitted, n.min(fit));

        let mut at_once = Bucket { quota, tat };
        prop_assert!(at_once.ask(NOW, cost * admitted).allowed);
        let live = |bucket: Bucket| bucket.tat.filter(|&tat| tat > NOW);
        prop_assert_eq!(live(one_by_one), live(at_once));
    }

    /// `count` requests under several limits at one instant: decided at once, they are the
    /// same as one after the other, of which each spends from all limits or from none.
    #[test]
    fn several_limits_at_once_are_the_same_as_one_request_after_the_other(
        limits in vec(quota_and_stored(), 1..=4), cost in 0..=4u64, count in 1..=40u64,
    ) {
        let mut one_by_one: Vec<Bucket> = limits
            .iter()
            .map(|&(quota, tat)| Bucket { quota, tat })
            .collect();
        let mut passed = 0;
        for _ in 0..count {
            let fits = |bucket: &Bucket| decide(bucket.quota, bucket.tat, NOW, cost).room >= 0;
            let all_fit = one_by_one.iter().all(fits);
            passed += u64::from(all_fit);
            for bucket in &mut one_by_one {
                // One that does not fit asks for nothing, and so does no more than heal.
                bucket.ask(NOW, if all_fit { cost } else { 0 });
            }
        }

        let budgets = limits.iter().map(|&(quota, tat)| Budget::at(NOW, quota, tat));
        let rooms = limits.iter().zip(budgets.clone());
        let rooms = rooms.map(|(&(quota, _), budget)| (quota, budget.room(cost)));
        let granted = granted(rooms, cost, count);
        prop_assert_eq!(granted, passed);
        for ((budget, &(_, tat)), bucket) in budgets.zip(&limits).zip(one_by_one) {
            prop_assert_eq!(budget.store(cost, granted).or(tat), bucket.tat);
        }
    }

    #[test]
    fn a_new_quota_is_never_waited_for_longer_than_its_own_increment(
        old in quota(), new in quota(), schedule in schedule(), cost in 1..=4u64,
    ) {
        let mut bucket = Bucket::new(old);
        let mut last = NOW;
        for (now, cost) in instants(old, &schedule) {
            bucket.ask(now, cost);
            last = now;
        }
        bucket.quota = new;
        let decision = bucket.ask(last, cost);
        if let Some(wait) = decision.retry_after {
            prop_assert!(wait <= increment(new, cost));
            prop_assert!(bucket.ask(last + wait, cost).allowed);
        }
    }

    /// Nothing overflows, and what must hold of every answer holds at the extremes too.
    #[test]
    fn any_numbers_at_all_give_a_consistent_answer(
        quota in quota(),
        tat in proptest::option::of(any::<u64>()),
        now in prop_oneof![any::<u64>(), MAX_NOW - 9..=u64::MAX, 0..9u64],
        cost in any::<u64>(),
    ) {
        let outcome = decide(quota, tat, now, cost);
        let decision = Decision::from_room(quota, cost, outcome.room);
        prop_assert_eq!(decision.allowed, outcome.room >= 0);
        prop_assert!(!decision.allowed || cost <= quota.limit());
        prop_assert!(decision.remaining <= quota.limit());
        prop_assert!(decision.reset_after <= quota.burst());
        prop_assert!(decision.retry_after.unwrap_or(1) > 0);
        if decision.allowed && cost > 0 {
            prop_assert!(outcome.store > tat.filter(|&tat| tat > now));
        }
        prop_assert!(outcome.store.is_none_or(|tat| tat <= now.saturating_add(quota.burst())));
    }

    #[test]
    fn no_room_at_all_makes_an_answer_out_of_range(
        quota in quota(), cost in any::<u64>(), room in any::<i64>(),
    ) {
        let decision = Decision::from_room(quota, cost, room);
        prop_assert!(decision.remaining <= decision.limit);
        prop_assert!(decision.reset_after <= quota.burst());
        if let Some(wait) = decision.retry_after {
            prop_assert!(0 < wait && wait <= increment(quota, cost));
        }
    }
}
