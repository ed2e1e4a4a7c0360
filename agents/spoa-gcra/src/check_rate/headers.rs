//! The `RateLimit` and `RateLimit-Policy` header fields
//! (draft-ietf-httpapi-ratelimit-headers-10).

use crate::gcra::{Decision, Quota};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// `"default";r=7;t=1`: 7 requests are left, more in 1 s. Without `t` when none is missing.
pub(super) fn ratelimit(policy: &str, quota: Quota, decision: &Decision) -> String {
    let remaining = decision.remaining;
    match next_request(quota, decision) {
        Some(wait) => format!("\"{policy}\";r={remaining};t={}", seconds(wait).max(1)),
        None => format!("\"{policy}\";r={remaining}"),
    }
}

/// `"default";q=20;w=1`: 20 requests in 1 s, the time in which a spent burst is whole again.
pub(super) fn ratelimit_policy(policy: &str, quota: Quota) -> String {
    let window = seconds(quota.burst()).max(1);
    format!("\"{policy}\";q={};w={window}", quota.limit())
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

    fn quota() -> Quota {
        Quota::new(400_000, 2_000_000).unwrap()
    }

    #[track_caller]
    fn check(room: i64, expected: &str) {
        let decision = Decision::from_room(quota(), 1, room);
        assert_eq!(ratelimit("p", quota(), &decision), expected);
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        check(1_600_000, "\"p\";r=4;t=1");
        check(0, "\"p\";r=0;t=1");
        check(-1, "\"p\";r=0;t=1");
        let slow = Quota::new(60_000_000, 600_000_000).unwrap();
        let denied = Decision::from_room(slow, 1, -30_500_000);
        assert_eq!(ratelimit("p", slow, &denied), "\"p\";r=0;t=31");
        let unused = Decision::from_room(slow, 0, 600_000_000);
        assert_eq!(ratelimit("p", slow, &unused), "\"p\";r=10");
    }

    #[test]
    fn the_policy() {
        assert_eq!(ratelimit_policy("p", quota()), "\"p\";q=5;w=2");
        let fast = Quota::new(10, 100).unwrap();
        assert_eq!(ratelimit_policy("p", fast), "\"p\";q=10;w=1");
    }
}
