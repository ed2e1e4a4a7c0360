//! The terms of a lease: what a policy says of how many requests are asked for at once, and
//! for how long they are good.

use std::time::Duration;

use crate::policy::Limit;
use crate::store::Check;

/// The shortest time to spend a lease in: 1 ms.
pub const MIN_TTL: Duration = Duration::from_millis(1);

/// The longest: one minute.
pub const MAX_TTL: Duration = Duration::from_secs(60);

/// The least part of a limit that one lease may be.
const PART: u64 = 4;

/// What a policy may say of leases; see [`super`] for what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    tokens: u32,
    ttl: Duration,
}

/// Why there can be no such lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It would save nothing.
    #[error("a lease must be of 2 requests or more")]
    Tokens,
    /// Not [`MIN_TTL`] to [`MAX_TTL`].
    #[error("a lease must be good for {MIN_TTL:?} to {MAX_TTL:?}")]
    Ttl,
    /// Everything passes as it is.
    #[error("a policy without limits has nothing to lease")]
    NoLimit,
    /// Other agents would find too little left.
    #[error(
        "a lease of {tokens} requests is more than a quarter of the {limit} that the policy \
         allows at once"
    )]
    TooMany {
        /// What was asked for.
        tokens: u32,
        /// Requests of the policy's cost at once, under its smallest limit.
        limit: u64,
    },
}

impl Lease {
    /// Leases of `tokens` requests (L), to be spent within `ttl` (T) of asking for them.
    ///
    /// # Errors
    /// Unless `tokens` is at least 2 and `ttl` in [`MIN_TTL`]`..=`[`MAX_TTL`].
    pub fn new(tokens: u32, ttl: Duration) -> Result<Self, LeaseError> {
        if tokens < 2 {
            return Err(LeaseError::Tokens);
        }
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(LeaseError::Ttl);
        }
        Ok(Self { tokens, ttl })
    }

    /// L: requests that are asked for at once.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// T: how long they are good, from when they were asked for.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Checks it against the limits that it takes from, for requests of this cost.
    ///
    /// # Errors
    /// If there is none, or if L is more than a quarter of what one of them allows at once.
    pub(crate) fn fits(&self, limits: &[Limit], cost: u64) -> Result<(), LeaseError> {
        let limit = limits.iter().map(|limit| limit.quota().limit()).min();
        let limit = limit.ok_or(LeaseError::NoLimit)? / cost.max(1);
        let tokens = self.tokens;
        if u64::from(tokens) > limit / PART {
            return Err(LeaseError::TooMany { tokens, limit });
        }
        Ok(())
    }

    /// Whether such a check may take one, or spend from one: a single request of the cost
    /// that the policy's have. Dearer ones are rare, and would take L times as much with them.
    pub(super) fn covers(check: &Check) -> bool {
        check.count == 1 && check.cost > 0 && check.cost == check.policy.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcra::Quota;
    use crate::policy::Policy;

    #[test]
    fn terms_have_bounds() {
        let second = Duration::from_secs(1);
        for tokens in [0, 1] {
            assert_eq!(Lease::new(tokens, second), Err(LeaseError::Tokens));
        }
        for ttl in [Duration::ZERO, Duration::from_micros(999), 61 * second] {
            assert_eq!(Lease::new(2, ttl), Err(LeaseError::Ttl));
        }
        assert_eq!(
            LeaseError::Ttl.to_string(),
            "a lease must be good for 1ms to 60s"
        );
        let lease = Lease::new(u32::MAX, MAX_TTL).unwrap();
        assert_eq!((lease.tokens(), lease.ttl()), (u32::MAX, 60 * second));
    }

    #[test]
    fn a_lease_is_a_quarter_of_the_smallest_limit_at_most() {
        let [five, six] = [5, 6].map(|tokens| Lease::new(tokens, MIN_TTL).unwrap());
        let limits = [100, 23].map(|limit| Limit::only(Quota::new(10, 10 * limit + 9).unwrap()));
        let policy = |limits: &[Limit]| Policy::new("p", limits.to_vec()).unwrap();

        let leased = policy(&limits).with_lease(five).unwrap();
        assert_eq!(leased.lease, Some(five));
        assert!(policy(&limits[..1]).with_lease(six).is_ok());
        // Of 100, such requests are 25 and 20.
        for (cost, fits) in [(4, true), (5, false), (u64::MAX, false)] {
            let dear = policy(&limits[..1]).with_cost(cost).with_lease(six);
            assert_eq!(dear.is_ok(), fits, "{cost}");
        }
        let error = policy(&limits).with_lease(six).unwrap_err();
        assert_eq!(
            error,
            LeaseError::TooMany {
                tokens: 6,
                limit: 23
            }
        );
        assert_eq!(policy(&[]).with_lease(five), Err(LeaseError::NoLimit));
    }
}
