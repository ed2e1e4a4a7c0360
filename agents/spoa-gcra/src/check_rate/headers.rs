//! The `RateLimit` and `RateLimit-Policy` header fields
//! (draft-ietf-httpapi-ratelimit-headers-10).

use crate::gcra::{Decision, Quota};
use crate::policy::{Limit, Policy};
use crate::store::Verdict;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// `"default";r=7;t=1`: 7 requests are left of the limit that the verdict is about, more in
/// 1 s. Without `t` when none is missing; empty where there is no limit.
pub(super) fn ratelimit(policy: &Policy, verdict: &Verdict) -> String {
    let Some(limit) = policy.limits().get(verdict.limit) else {
        return String::new();
    };
    let decision = &verdict.decision;
    let (name, remaining) = (name(policy, limit), decision.remaining);
    match next_request(limit.quota(), decision) {
        Some(wait) => format!("\"{name}\";r={remaining};t={}", seconds(wait).max(1)),
        None => format!("\"{name}\";r={remaining}"),
    }
}

/// `"default";q=20;w=1`: 20 requests in 1 s, the time in which a spent burst is whole again.
/// An item for each limit.
pub(super) fn ratelimit_policy(policy: &Policy) -> String {
    let items = policy.limits().iter().map(|limit| {
        let window = seconds(limit.quota().burst()).max(1);
        let (name, limit) = (name(policy, limit), limit.quota().limit());
        format!("\"{name}\";q={limit};w={window}")
    });
    items.collect::<Vec<_>>().join(", ")
}

fn name<'a>(policy: &'a Policy, limit: &'a Limit) -> &'a str {
    limit.name().unwrap_or(&policy.name)
}

/// Whole seconds, rounded up: a client that waits them never comes too early.
pub(super) fn seconds(micros: u64) -> u64 {
    micros.div_ceil(MICROS_PER_SECOND)
}

/// µs until one more request would pass than now. `None`: all of the limit is there.
fn next_request(quota: Quota, decision: &Decision) -> Option<u64> {
    if decision.remaining >= quota.limit() {
        return None;
    }
    let left = quota.burst().saturating_sub(decision.reset_after);
    let next = quota.interval().saturating_mul(decision.remaining + 1);
    Some(next.saturating_sub(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::LimitId;
    use crate::store::Source;

    fn policy(interval: u64, burst: u64) -> Policy {
        let quota = Quota::new(interval, burst).unwrap();
        Policy::new("p", vec![Limit::only(quota)]).unwrap()
    }

    #[track_caller]
    fn check(policy: &Policy, cost: u64, room: i64, expected: &str) {
        let quota = policy.limits()[0].quota();
        let verdict = Verdict {
            decision: Decision::from_room(quota, cost, room),
            limit: 0,
            granted: 0,
            source: Source::Valkey,
        };
        assert_eq!(ratelimit(policy, &verdict), expected);
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let quick = policy(400_000, 2_000_000);
        check(&quick, 1, 1_600_000, "\"p\";r=4;t=1");
        check(&quick, 1, 0, "\"p\";r=0;t=1");
        check(&quick, 1, -1, "\"p\";r=0;t=1");
        let slow = policy(60_000_000, 600_000_000);
        check(&slow, 1, -30_500_000, "\"p\";r=0;t=31");
        check(&slow, 0, 600_000_000, "\"p\";r=10");
    }

    #[test]
    fn the_policy() {
        assert_eq!(
            ratelimit_policy(&policy(400_000, 2_000_000)),
            "\"p\";q=5;w=2"
        );
        assert_eq!(ratelimit_policy(&policy(10, 100)), "\"p\";q=10;w=1");
    }

    #[test]
    fn several_limits_have_their_own_names() {
        let id = |n| LimitId::new(std::num::NonZeroU32::new(n).unwrap());
        let second = Quota::new(200_000, 1_000_000).unwrap();
        let hour = Quota::new(36_000_000, 3_600_000_000).unwrap();
        let limits = vec![
            Limit::named("second", id(1), second),
            Limit::named("hour", id(2), hour),
        ];
        let policy = Policy::new("login", limits).unwrap();
        assert_eq!(
            ratelimit_policy(&policy),
            "\"second\";q=5;w=1, \"hour\";q=100;w=3600"
        );
    }
}
