//! The limiter as simply as it can be written, for tests to compare with: a plain map, and one
//! request after the other.

use std::collections::HashMap;

use crate::gcra::{Budget, Decision};
use crate::policy::LimitId;
use crate::store::{Check, Client, Source, Verdict};

/// Every client's TAT under every limit, in µs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle(HashMap<(Client, LimitId), u64>);

impl Oracle {
    /// The verdict on the first of the check's requests, and how many of them pass.
    pub(crate) fn decide(&mut self, check: &Check, now: u64, source: Source) -> Verdict {
        let (limit, decision) = self.one(check, now);
        let further = (1..check.count).filter(|_| self.one(check, now).1.allowed);
        Verdict {
            decision,
            limit,
            granted: u32::from(decision.allowed) + further.count() as u32,
            source,
        }
    }

    /// Every TAT that is ahead of `now`, in order.
    pub(crate) fn debts(&self, now: u64) -> Vec<(Client, LimitId, u64)> {
        let debts = self.0.iter().filter(|&(_, &tat)| tat > now);
        let mut debts: Vec<_> = debts
            .map(|(&(client, id), &tat)| (client, id, tat))
            .collect();
        debts.sort();
        debts
    }

    fn one(&mut self, check: &Check, now: u64) -> (usize, Decision) {
        let limits = check.policy.limits();
        let mut rooms = Vec::new();
        for limit in limits {
            let tat = self.0.get(&(check.client, limit.id())).copied();
            rooms.push(Budget::at(now, limit.quota(), tat).room(check.cost));
        }
        let allowed = rooms.iter().all(|&room| room >= 0);
        let mut strictest = (0, Decision::UNLIMITED);
        for (index, (limit, room)) in limits.iter().zip(rooms).enumerate() {
            let key = (check.client, limit.id());
            let budget = Budget::at(now, limit.quota(), self.0.get(&key).copied());
            if let Some(tat) = budget.store(check.cost, allowed.into()) {
                self.0.insert(key, tat);
            }
            let decision = Decision::beside_others(limit.quota(), check.cost, room, allowed);
            let wait = |decision: Decision| decision.retry_after.unwrap_or(u64::MAX);
            let stricter = match strictest.1.allowed {
                true if allowed => index == 0 || decision.remaining < strictest.1.remaining,
                true => room < 0,
                false => room < 0 && wait(decision) > wait(strictest.1),
            };
            if stricter {
                strictest = (index, decision);
            }
        }
        strictest
    }
}
