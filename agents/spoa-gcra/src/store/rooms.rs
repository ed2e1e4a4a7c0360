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
        let count = u64::from(check.count.max(1));
        let granted = self.granted(check, before.saturating_add(count));
        // What those before have spent is not there for this one.
        let spent = granted.min(before);
        let allowed = granted > spent;
        let mut strictest: Option<(usize, Quota, i64)> = None;
        let decide = |quota, room| Decision::beside_others(quota, check.cost, room, allowed);
        for (limit, (quota, room)) in self.by_limit(check).enumerate() {
            let spent = increment(quota, check.cost).saturating_mul(spent);
            let room = room.saturating_sub_unsigned(spent);
            if (allowed || room < 0)
                && strictest.is_none_or(|(_, than, left)| {
                    is_stricter(decide(quota, room), decide(than, left))
                })
            {
                strictest = Some((limit, quota, room));
            }
        }
        let (limit, decision) = strictest
            .map_or((0, Decision::UNLIMITED), |(limit, quota, room)| {
                (limit, decide(quota, room))
            });
        Verdict {
            decision,
            limit,
            // Not above `count`, unless that is 0.
            granted: u32::try_from(granted.saturating_sub(spent))
                .map_or(check.count, |n| n.min(check.count)),
            source,
        }
    }

    fn by_limit(&self, check: &Check) -> impl Iterator<Item = (Quota, i64)> {
        let limits = check.policy.limits().iter().zip(&self.0);
        limits.map(|(limit, room)| (limit.quota(), *room))
    }
}

/// Of two decisions on one request: denies for longer, or leaves fewer.
fn is_stricter(one: Decision, than: Decision) -> bool {
    let wait = |decision: Decision| decision.retry_after.unwrap_or(u64::MAX);
    if one.allowed {
        one.remaining < than.remaining
    } else {
        wait(one) > wait(than)
    }
}

#[cfg(test)]
pub(super) mod oracle;
#[cfg(test)]
mod tests;
