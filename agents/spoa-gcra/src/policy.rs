//! What applies to a client: a policy, and the limits it consists of.
//!
//! [`PolicySource`] reads [`Policies`] from the file that `SPOA_CONFIG` names, or makes the
//! one that environment variables describe, and [`watch()`] puts new ones in force when the
//! file changes.

mod decisions;
mod document;
mod file;
mod limit_ids;
mod networks;
mod policies;
mod problem;
mod rate;
mod source;
mod watch;

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

pub use self::decisions::{Decisions, Outcome};
pub use self::file::{Defaults, MAX_FILE, MAX_MESSAGES, MAX_NAME, MAX_NETWORKS, MAX_POLICIES};
pub use self::limit_ids::NoMoreNames;
pub use self::networks::{Contradiction, Listed, Networks};
pub(crate) use self::policies::rate;
pub use self::policies::{Named, Policies};
pub use self::problem::{Mistake, Problem, Problems};
pub use self::rate::BadRate;
pub use self::source::PolicySource;
pub use self::watch::{Stale, Watch, watch};
use crate::check_rate::Constants;
use crate::gcra::{MAX_COST, Quota};
use crate::store::Client;
use crate::store::failure::FailurePolicy;
use crate::store::lease::{Lease, LeaseError};

/// The most limits of one policy. All of them are decided together, by one run of the
/// script over as many keys.
pub const MAX_LIMITS: usize = 4;

/// The name of the policy that applies when no other was asked for.
pub const DEFAULT: &str = "default";

/// What applies to a client: up to [`MAX_LIMITS`] limits, and what to do when nobody can
/// say how much of them is left.
///
/// A request passes if every limit has room for it, and only then spends from any. Without
/// a limit, everything passes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// What variables, headers and metrics call it.
    pub name: Arc<str>,
    /// What is answered when the store does not.
    pub failure: FailurePolicy,
    /// What a request costs that does not say so itself; at most [`MAX_COST`].
    pub cost: u64,
    /// Whether it only says what it would do: everything passes.
    pub shadow: bool,
    /// Who passes, or is denied, without being limited.
    pub networks: Networks,
    /// Whether several requests of a busy client are asked for at once, which is not exact.
    pub lease: Option<Lease>,
    /// What has been decided under it, and under those of its name before it.
    pub decisions: Decisions,
    limits: Box<[Limit]>,
    ratelimit_policy: Box<str>,
    pub(crate) constants: Constants,
}

/// More limits than [`MAX_LIMITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} limits: a policy has {MAX_LIMITS} at most")]
pub struct TooManyLimits(usize);

impl Policy {
    /// A policy of these limits, with the default [`FailurePolicy`], cost 1, not in shadow and
    /// for all networks.
    ///
    /// # Errors
    /// If there are more than [`MAX_LIMITS`].
    pub fn new(name: &str, limits: Vec<Limit>) -> Result<Self, TooManyLimits> {
        if limits.len() > MAX_LIMITS {
            return Err(TooManyLimits(limits.len()));
        }
        Ok(Self::of(name, limits.into()))
    }

    /// The policy `default` of the agent that has only one limit.
    pub fn of_one(quota: Quota) -> Self {
        Self::of(DEFAULT, Box::new([Limit::only(quota)]))
    }

    fn of(name: &str, limits: Box<[Limit]>) -> Self {
        Self {
            name: name.into(),
            failure: FailurePolicy::default(),
            cost: 1,
            shadow: false,
            networks: Networks::default(),
            lease: None,
            decisions: Decisions::default(),
            ratelimit_policy: ratelimit_policy(name, &limits).into(),
            constants: Constants::default(),
            limits,
        }
    }

    /// The same, with another answer for when the store does not.
    pub fn with_failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }

    /// The same, with another cost of a request; more than [`MAX_COST`] is that.
    pub fn with_cost(mut self, cost: u64) -> Self {
        self.cost = cost.min(MAX_COST);
        self
    }

    /// The same, in shadow or not.
    pub fn with_shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// The same, with other networks to allow and to deny.
    pub fn with_networks(mut self, networks: Networks) -> Self {
        self.networks = networks;
        self
    }

    /// The same, with leases. They are of requests of the policy's cost: that comes first.
    ///
    /// # Errors
    /// If there is no limit, or if a lease is more than a quarter of the smallest.
    pub fn with_lease(mut self, lease: Lease) -> Result<Self, LeaseError> {
        lease.fits(&self.limits, self.cost)?;
        self.lease = Some(lease);
        Ok(self)
    }

    /// At most [`MAX_LIMITS`]; none: everything passes.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// The value of the header `RateLimit-Policy`, with an item for each limit:
    /// `"default";q=20;w=1`, 20 requests in 1 s, the time in which a spent burst is whole
    /// again (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn ratelimit_policy(&self) -> &str {
        &self.ratelimit_policy
    }
}

fn ratelimit_policy(policy: &str, limits: &[Limit]) -> String {
    const MICROS_PER_SECOND: u64 = 1_000_000;
    let mut items = String::new();
    for limit in limits {
        let (name, quota) = (limit.name().unwrap_or(policy), limit.quota());
        let window = quota.burst().div_ceil(MICROS_PER_SECOND);
        let separator = if items.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(
            items,
            "{separator}\"{name}\";q={};w={window}",
            quota.limit()
        );
    }
    items
}

/// One limit, and what its state is kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    name: Option<(Box<str>, LimitId)>,
    quota: Quota,
}

/// A limit's number within this process: what the in-memory store and the denial cache
/// know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitId(u32);

impl LimitId {
    /// The number of a limit that has a name. As long as the process lives, a name keeps its
    /// number and no other name gets it: whoever hands numbers out sees to that.
    pub const fn new(number: NonZeroU32) -> Self {
        Self(number.get())
    }
}

impl Limit {
    /// The limit of the one-policy agent. Its key is `gcra:192.0.2.7`.
    pub const fn only(quota: Quota) -> Self {
        Self { name: None, quota }
    }

    /// A limit beside others. Its key is `gcra:{192.0.2.7}:name`: the braces make a cluster
    /// keep all limits of a client in one hash slot.
    pub fn named(name: &str, id: LimitId, quota: Quota) -> Self {
        Self {
            name: Some((name.into(), id)),
            quota,
        }
    }

    /// The rate and the burst.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// `None`: the limit of the one-policy agent.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|(name, _)| &**name)
    }

    /// What its state is known by in this process.
    pub fn id(&self) -> LimitId {
        self.name.as_ref().map_or(LimitId(0), |(_, id)| *id)
    }

    /// Where the state of this client is kept in Valkey.
    pub fn key(&self, client: Client) -> String {
        // Room for any address, so that it never grows. Formatting costs several times as
        // much, and this is done for each check.
        const ADDRESS: usize = 45;
        let name = self.name();
        let mut key = String::with_capacity(8 + ADDRESS + name.map_or(0, str::len));
        key.push_str(if name.is_some() { "gcra:{" } else { "gcra:" });
        client.append_to(&mut key);
        if let Some(name) = name {
            key.push_str("}:");
            key.push_str(name);
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> Quota {
        Quota::new(1, 1).unwrap()
    }

    #[test]
    fn keys_of_one_client_share_a_slot_and_the_only_one_is_bare() {
        let client = Client("192.0.2.7".parse().unwrap());
        let id = LimitId::new(NonZeroU32::MIN);
        let named = Limit::named("login", id, quota());
        assert_eq!(Limit::only(quota()).key(client), "gcra:192.0.2.7");
        assert_eq!(named.key(client), "gcra:{192.0.2.7}:login");
        assert_ne!(named.id(), Limit::only(quota()).id());
    }

    #[test]
    fn the_key_is_the_formatted_address() {
        for client in ["0.0.0.0", "255.255.255.255", "2001:db8:1:2::", "::"] {
            let client = Client(client.parse().unwrap());
            assert_eq!(Limit::only(quota()).key(client), format!("gcra:{client}"));
        }
    }

    #[test]
    fn each_limit_is_described() {
        let describe = |interval, burst| {
            let quota = Quota::new(interval, burst).unwrap();
            Policy::new("p", vec![Limit::only(quota)]).unwrap()
        };
        assert_eq!(
            describe(400_000, 2_000_000).ratelimit_policy(),
            "\"p\";q=5;w=2"
        );
        assert_eq!(describe(10, 100).ratelimit_policy(), "\"p\";q=10;w=1");
        let id = |n| LimitId::new(NonZeroU32::new(n).unwrap());
        let second = Quota::new(200_000, 1_000_000).unwrap();
        let hour = Quota::new(36_000_000, 3_600_000_000).unwrap();
        let limits = vec![
            Limit::named("second", id(1), second),
            Limit::named("hour", id(2), hour),
        ];
        assert_eq!(
            Policy::new("login", limits).unwrap().ratelimit_policy(),
            "\"second\";q=5;w=1, \"hour\";q=100;w=3600"
        );
    }

    #[test]
    fn a_policy_is_short() {
        let limits = |count| vec![Limit::only(quota()); count];
        assert_eq!(Policy::new("p", limits(5)), Err(TooManyLimits(5)));
        assert_eq!(Policy::new("p", limits(4)).unwrap().limits().len(), 4);
    }
}
