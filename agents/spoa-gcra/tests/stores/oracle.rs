//! The limiter for one client at a moment at which no time passes: a plain map, and one
//! request after the other.

use std::collections::HashMap;

use spoa_gcra::gcra::{Budget, Decision};
use spoa_gcra::policy::{Limit, LimitId};
use spoa_gcra::store::Check;

/// Any moment will do.
const NOW: u64 = 1_767_225_600_000_000;

/// The client's TAT under each limit.
#[derive(Default)]
pub(crate) struct Oracle(HashMap<LimitId, u64>);

/// What is to be expected of a check.
#[derive(Debug)]
pub(crate) struct Expected {
    /// How many of its requests pass.
    pub(crate) granted: u32,
    /// What each limit says to the first of them, and whether that fits it.
    pub(crate) limits: Vec<(Decision, bool)>,
}

impl Oracle {
    pub(crate) fn expect(&mut self, check: &Check) -> Expected {
        let limits = self.one(check);
        let passes = |limits: &[(Decision, bool)]| limits.iter().all(|&(_, fits)| fits);
        let first = passes(&limits);
        let further = (1..check.count).filter(|_| passes(&self.one(check)));
        Expected {
            granted: further.map(|_| 1).sum::<u32>() + u32::from(first),
            limits,
        }
    }

    /// One request: it spends from all limits, or from none.
    fn one(&mut self, check: &Check) -> Vec<(Decision, bool)> {
        let limits = check.policy.limits();
        let budget = |tats: &HashMap<_, _>, limit: &Limit| {
            Budget::at(NOW, limit.quota(), tats.get(&limit.id()).copied())
        };
        let rooms: Vec<i64> = limits
            .iter()
            .map(|limit| budget(&self.0, limit).room(check.cost))
            .collect();
        let allowed = rooms.iter().all(|&room| room >= 0);
        for limit in limits {
            let spent = budget(&self.0, limit).store(check.cost, allowed.into());
            if let Some(tat) = spent {
                self.0.insert(limit.id(), tat);
            }
        }
        let say = |(limit, room): (&Limit, i64)| {
            let decision = Decision::beside_others(limit.quota(), check.cost, room, allowed);
            (decision, room >= 0)
        };
        limits.iter().zip(rooms).map(say).collect()
    }
}
