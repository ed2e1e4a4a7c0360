//! What applies to a client: a policy, and the limits it consists of.

use std::fmt;
use std::num::NonZeroU32;

use crate::gcra::Quota;
use crate::store::Client;
use crate::store::failure::FailurePolicy;

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
    pub name: Box<str>,
    /// What is answered when the store does not.
    pub failure: FailurePolicy,
    limits: Box<[Limit]>,
}

/// More limits than [`MAX_LIMITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} limits: a policy has {MAX_LIMITS} at most")]
pub struct TooManyLimits(usize);

impl Policy {
    /// A policy of these limits, with the default [`FailurePolicy`].
    ///
    /// # Errors
    /// If there are more than [`MAX_LIMITS`].
    pub fn new(name: &str, limits: Vec<Limit>) -> Result<Self, TooManyLimits> {
        if limits.len() > MAX_LIMITS {
            return Err(TooManyLimits(limits.len()));
        }
        Ok(Self {
            name: name.into(),
            failure: FailurePolicy::default(),
            limits: limits.into(),
        })
    }

    /// The policy `default` of the agent that has only one limit.
    pub fn of_one(quota: Quota) -> Self {
        Self {
            name: DEFAULT.into(),
            failure: FailurePolicy::default(),
            limits: Box::new([Limit::only(quota)]),
        }
    }

    /// The same, with another answer for when the store does not.
    pub fn with_failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }

    /// At most [`MAX_LIMITS`]; none: everything passes.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }
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
    pub fn key(&self, client: Client) -> impl fmt::Display {
        Key {
            limit: self,
            client,
        }
    }
}

struct Key<'a> {
    limit: &'a Limit,
    client: Client,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client;
        match self.limit.name() {
            None => write!(f, "gcra:{client}"),
            Some(name) => write!(f, "gcra:{{{client}}}:{name}"),
        }
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
        assert_eq!(
            Limit::only(quota()).key(client).to_string(),
            "gcra:192.0.2.7"
        );
        assert_eq!(named.key(client).to_string(), "gcra:{192.0.2.7}:login");
        assert_ne!(named.id(), Limit::only(quota()).id());
    }

    #[test]
    fn a_policy_is_short() {
        let limits = |count| vec![Limit::only(quota()); count];
        assert_eq!(Policy::new("p", limits(5)), Err(TooManyLimits(5)));
        assert_eq!(Policy::new("p", limits(4)).unwrap().limits().len(), 4);
    }
}
