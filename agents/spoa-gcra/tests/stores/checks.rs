//! What the stores are asked: checks of clients that nobody else asks about.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::{Limit, LimitId, Policy};
use spoa_gcra::store::{Check, Client};

/// How long something may take that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An interval in µs during which a test is over, however slow the machine.
pub(crate) const HOUR: u64 = 3_600_000_000;

/// A client that no test has seen yet, IPv4 and IPv6 in turn.
pub(crate) fn client() -> Client {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    Client(if n.is_multiple_of(2) {
        IpAddr::V4((0x0A00_0000 + n).into())
    } else {
        IpAddr::V6(((0x2001_0db8 << 96) | u128::from(n) << 64).into())
    })
}

/// Limit number `number`, which is `n` requests at once and one every `interval` µs.
pub(crate) fn limit(number: u32, interval: u64, n: u64) -> Limit {
    let quota = Quota::new(interval, n * interval).unwrap();
    let id = LimitId::new(number.try_into().unwrap());
    Limit::named(&format!("limit-{number}"), id, quota)
}

/// A policy of these limits.
pub(crate) fn policy(limits: &[Limit]) -> Arc<Policy> {
    Arc::new(Policy::new("of tests", limits.to_vec()).unwrap())
}

/// `n` requests at once, and then hardly any; under the one limit that has no name.
pub(crate) fn slow_policy(n: u64) -> Arc<Policy> {
    let quota = Quota::new(HOUR, n * HOUR).unwrap();
    Arc::new(Policy::of_one(quota))
}

pub(crate) fn check(client: Client, policy: &Arc<Policy>, cost: u64, count: u32) -> Check {
    Check {
        client,
        policy: Arc::clone(policy),
        cost,
        count,
        deadline: Instant::now() + PATIENCE,
    }
}
