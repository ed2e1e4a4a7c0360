//! What is known of clients that are out of budget: a table of a fixed number of places,
//! which decides nothing but "the server would deny this now". It reads no clock: `now` and
//! `sent` are arguments, in ns since whatever instant the caller chose.

use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::gcra::{Decision, Quota, increment};
use crate::policy::{Limit, LimitId};
use crate::store::places::{Places, WAYS};
use crate::store::{Check, Client, Source, Verdict};

/// How long an answer is believed, counted from when its check was sent: 1 s. Denials would
/// be exact without it for as long as the server keeps its word. It may not: a key is
/// deleted or evicted, a replica without the last writes is promoted, the server's clock
/// is set forward. Then nobody is denied for longer than this on the old word.
pub(super) const BELIEVED: Duration = Duration::from_secs(1);

/// Entries by client, limit and quota. One is never mistaken for another's: the key is compared
/// in full, and the hash only says where to look.
#[derive(Debug)]
pub(super) struct Table {
    places: Places<Entry>,
    /// Entries that were given a place.
    pub(super) learnt: AtomicU64,
    /// Entries that lost theirs while they still denied.
    pub(super) evictions: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    client: Client,
    limit: LimitId,
    /// What is known under one quota says nothing under another.
    quota: Quota,
    /// ns: the client's theoretical arrival time is not before this.
    tat: u64,
    /// ns: when the check was sent whose answer said so.
    sent: u64,
}

impl Table {
    /// A table of `entries` places, rounded up to whole sets.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            places: Places::new(entries),
            learnt: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// The server's verdict, if it is certain to deny this check now.
    pub(super) fn denial(&self, check: &Check, now: u64) -> Option<Verdict> {
        let limits = check.policy.limits().iter().enumerate();
        let denials = limits.filter_map(|(index, limit)| {
            Some(Verdict {
                decision: self.denial_by(limit, check, now)?,
                limit: index,
                granted: 0,
                source: Source::Cache,
            })
        });
        // Of several, as the server: the first of those that deny for longest.
        let wait = |denial: &Verdict| denial.decision.retry_after.unwrap_or(u64::MAX);
        denials.reduce(|longest, next| {
            if wait(&next) > wait(&longest) {
                next
            } else {
                longest
            }
        })
    }

    fn denial_by(&self, limit: &Limit, check: &Check, now: u64) -> Option<Decision> {
        self.set(check.client, limit)
            .iter()
            .find(|entry| entry.is_of(check.client, limit))?
            .denial(check.cost, now)
    }

    /// Takes note of what the server decided on a check sent at `sent`, about the limit that
    /// its verdict is about. A client gets a place once the server would deny the same check
    /// right after; from then on the newest answer counts, whatever it says.
    ///
    /// The server decided at or after `sent` that the client's bucket is full again after
    /// `reset_after`. So `sent + reset_after` is no later than that instant, whatever the
    /// way there and back took.
    pub(super) fn learn(&self, check: &Check, sent: u64, verdict: &Verdict) {
        let Some(limit) = check.policy.limits().get(verdict.limit) else {
            return;
        };
        let (client, quota, decision) = (check.client, limit.quota(), &verdict.decision);
        let learnt = Entry {
            client,
            limit: limit.id(),
            quota,
            tat: sent.saturating_add(decision.reset_after.saturating_mul(1000)),
            sent,
        };
        let mut set = self.set(client, limit);
        if let Some(known) = set.iter_mut().find(|entry| entry.is_of(client, limit)) {
            if known.sent <= sent {
                *known = learnt;
            }
            return;
        }
        let left = quota.burst().saturating_sub(decision.reset_after);
        if left >= increment(quota, check.cost) {
            return;
        }
        self.learnt.fetch_add(1, Ordering::Relaxed);
        if set.len() < WAYS {
            set.push(learnt);
        } else if let Some(oldest) = set.iter_mut().min_by_key(|entry| entry.sent) {
            // Whoever loses a place is only asked about again.
            if oldest.denial(1, sent).is_some() {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
            *oldest = learnt;
        }
    }

    fn set(&self, client: Client, limit: &Limit) -> MutexGuard<'_, Vec<Entry>> {
        self.places.of((client, limit.id()))
    }
}

impl Entry {
    fn is_of(&self, client: Client, limit: &Limit) -> bool {
        self.client == client && self.limit == limit.id() && self.quota == limit.quota()
    }

    /// What the server would say now to a request of this cost, if it is certain to deny it.
    fn denial(&self, cost: u64, now: u64) -> Option<Decision> {
        // Another thread's check may have been sent after this one's clock was read.
        let now = now.max(self.sent);
        if now - self.sent >= BELIEVED.as_nanos() as u64 {
            return None;
        }
        // Rounded down, because the server's microseconds may have begun before ours.
        let debt = self.tat.saturating_sub(now) / 1000;
        let used = debt.saturating_add(increment(self.quota, cost));
        // Both are below 2^53.
        let room = self.quota.burst() as i64 - used as i64;
        (room < 0).then(|| Decision::from_room(self.quota, cost, room))
    }
}

#[cfg(test)]
mod tests;
