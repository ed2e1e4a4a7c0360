//! The `RateLimit` header field (draft-ietf-httpapi-ratelimit-headers-10); `RateLimit-Policy`
//! is the policy's own.

use crate::gcra::{Decision, Quota};
use crate::policy::Policy;
use crate::store::Verdict;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// The value of `RateLimit`: `"default";r=7;t=1`, 7 requests are left of the limit that the
/// verdict is about, more in 1 s. Without `t` when none is missing; empty where there is no
/// limit.
pub(super) fn ratelimit(policy: &Policy, verdict: &Verdict) -> String {
    let Some(limit) = policy.limits().get(verdict.limit) else {
        return String::new();
    };
    let decision = &verdict.decision;
    let name = limit.name().unwrap_or(&policy.name);
    // Room for all of it: this is done for each answer, and cheaper than formatting.
    let mut value = String::with_capacity(name.len() + 48);
    value.push('"');
    value.push_str(name);
    value.push_str("\";r=");
    value.push_str(itoa::Buffer::new().format(decision.remaining));
    if let Some(wait) = next_request(limit.quota(), decision) {
        value.push_str(";t=");
        value.push_str(itoa::Buffer::new().format(seconds(wait).max(1)));
    }
    value
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
    use crate::policy::Limit;
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
}
