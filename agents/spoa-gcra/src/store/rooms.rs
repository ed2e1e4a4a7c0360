//! What a store finds for each limit of a check, and the verdict that follows from it.

use super::{Check, Source, Verdict};
use crate::gcra::{Decision, Quota, granted, increment};
use crate::policy::MAX_LIMITS;

/// The room that each limit of a policy leaves after a request, in µs, in the order of its
/// limits; negative: there is not enough, and it is short by that much. Everything that is
/// to be said of the request, and of equal ones right after it, follows from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rooms([i64; MAX_LIMITS]);

impl Rooms {
    /// The rooms, in the order of the limits. More than [`MAX_LIMITS`] do not count.
    pub fn new(rooms: impl IntoIterator<Item = i64>) -> Self {
        let mut all = Self::default();
        for (slot, room) in all.0.iter_mut().zip(rooms) {
            *slot = room;
        }
        all
    }

    /// How many of `count` requests like this check's pass.
    pub fn granted(&self, check: &Check, count: u64) -> u64 {
        granted(self.by_limit(check), check.cost, count)
    }

    /// The verdict on the check's requests if `before` equal ones were decided right before
    /// them, out of the same rooms.
    pub fn verdict(&self, check: &Check, before: u64, source: Source) -> Verdict {
        let count = u64::from(check.count);
        let granted_in_all = self.granted(check, before.saturating_add(count));
        let spent = granted_in_all.min(before);
        let rooms = self.by_limit(check).map(|(quota, room)| {
            let spent = increment(quota, check.cost).saturating_mul(spent);
            (quota, room.saturating_sub_unsigned(spent))
        });
        let allowed = rooms.clone().all(|(_, room)| room >= 0);
        let decisions = rooms.map(|(quota, room)| {
            let decision = Decision::beside_others(quota, check.cost, room, allowed);
            (decision, room)
        });
        let strictest = if allowed {
            decisions
                .enumerate()
                .min_by_key(|(_, (decision, _))| decision.remaining)
        } else {
            decisions
                .enumerate()
                .filter(|(_, (_, room))| *room < 0)
                .max_by_key(|(_, (decision, _))| decision.retry_after.unwrap_or(u64::MAX))
        };
        let (limit, decision) = strictest
            .map_or((0, Decision::UNLIMITED), |(limit, (decision, _))| {
                (limit, decision)
            });
        Verdict {
            decision,
            limit,
            // Not above `count`.
            granted: u32::try_from(granted_in_all.saturating_sub(spent)).unwrap_or(check.count),
            source,
        }
    }

    fn by_limit(&self, check: &Check) -> impl Iterator<Item = (Quota, i64)> + Clone {
        let limits = check.policy.limits().iter();
        limits.map(|limit| limit.quota()).zip(self.0)
    }
}
