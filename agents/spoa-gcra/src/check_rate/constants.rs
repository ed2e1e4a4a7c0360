//! The variables of an answer that follow from the policy and from who decided what: written
//! once for each, and copied from then on.

use std::sync::OnceLock;

use spop_server::{Actions, Scope};

use super::{DENIED, is_unasked};
use crate::policy::Policy;
use crate::store::{Source, Verdict};

/// Those of one policy, as they come to be needed. A policy that is cloned, and so may be
/// changed, begins without.
#[derive(Debug, Default)]
pub(crate) struct Constants([[OnceLock<Actions>; 2]; SOURCES]);

/// How many there are.
const SOURCES: usize = Source::Unlimited as usize + 1;

impl Constants {
    /// The variables that every such verdict of this policy sets.
    pub(super) fn of(policy: &Policy, verdict: &Verdict) -> Actions {
        let by_source = policy.constants.0.get(verdict.source as usize);
        let Some([denied, allowed]) = by_source else {
            return write(policy, verdict); // never: there is a place for each
        };
        let place = match verdict.decision.allowed {
            true => allowed,
            false => denied,
        };
        let mut actions = Actions::new();
        actions.append(place.get_or_init(|| write(policy, verdict)));
        actions
    }
}

/// `ip_score` comes in both scopes: `sess` as in the first designs of this agent, `txn`
/// because a session's value outlives an answer that is missing.
fn write(policy: &Policy, verdict: &Verdict) -> Actions {
    // In shadow nobody is denied, and clients are not told of a limit that does not apply.
    let allowed = verdict.decision.allowed || policy.shadow;
    let score = if allowed { 0 } else { DENIED };
    let mut actions = Actions::new()
        .set_var(Scope::Session, "ip_score", score)
        .set_var(Scope::Transaction, "ip_score", score)
        .set_var(Scope::Transaction, "allowed", allowed)
        .set_var(Scope::Transaction, "policy", &*policy.name)
        .set_var(Scope::Transaction, "source", verdict.source.as_str());
    if policy.shadow {
        actions = actions.set_var(Scope::Transaction, "shadow", !verdict.decision.allowed);
    }
    if is_unasked(verdict.source) {
        return actions;
    }
    if verdict.decision.allowed {
        actions = actions.set_var(Scope::Transaction, "retry_after", 0u64);
    }
    if !policy.shadow {
        let value = policy.ratelimit_policy();
        actions = actions.set_var(Scope::Transaction, "ratelimit_policy", value);
    }
    actions
}

impl Clone for Constants {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// They follow from what else there is to compare.
impl PartialEq for Constants {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Constants {}
