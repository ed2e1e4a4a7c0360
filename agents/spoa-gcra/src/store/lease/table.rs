//! What is held of each client: a table of a fixed number of places, which says of a check
//! whether to spend a token, to ask, or to ask for a lease. It reads no clock: `now` and
//! `sent` are arguments, in ns since whatever instant the caller chose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

use super::Lease;
use crate::gcra::{Budget, Decision};
use crate::policy::Policy;
use crate::store::places::{Places, WAYS};
use crate::store::{Check, Client, Source, Verdict};

/// What to do about a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: a token was spent for it.
    Spent(Verdict),
    /// Ask the store about this one.
    Ask,
    /// Ask the store for a lease, and give the answer to [`Table::take`], if there is one.
    AskForLease,
}

/// Entries by client and policy.
#[derive(Debug)]
pub(super) struct Table {
    places: Places<Entry>,
    pub(super) taken: AtomicU64,
    pub(super) granted: AtomicU64,
    pub(super) spent: AtomicU64,
    pub(super) expired: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    client: Client,
    /// This very one: after a reload there are no leases under the old limits, and nothing
    /// here keeps those, and the networks beside them, in memory.
    policy: Weak<Policy>,
    /// ns: from then on, all of this is as good as not there.
    until: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Asked about a moment ago: the next one takes a lease.
    Seen,
    /// A lease is on its way, or may be.
    Asked,
    Held(Tokens),
}

/// What is left of a lease.
#[derive(Debug)]
struct Tokens {
    /// Not 0.
    left: u32,
    /// The limit that the numbers are about.
    limit: usize,
    /// µs: the client's theoretical arrival time under it, as if the tokens left were still
    /// the server's.
    tat: u64,
}

impl Table {
    /// A table of `clients` places, rounded up to whole sets.
    pub(super) fn new(clients: usize) -> Self {
        Self {
            places: Places::new(clients),
            taken: AtomicU64::new(0),
            granted: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// What to do about this check, under these terms.
    pub(super) fn next(&self, check: &Check, lease: Lease, now: u64) -> Next {
        let until = end(lease, now);
        let mut set = self.set(check);
        let Some(entry) = set.iter_mut().find(|entry| entry.is_of(check)) else {
            self.see(&mut set, check, now, until);
            return Next::Ask;
        };
        if entry.until <= now {
            self.forget(entry);
            entry.until = until;
            return Next::Ask;
        }
        match &mut entry.state {
            State::Seen => {
                entry.state = State::Asked;
                entry.until = until;
                Next::AskForLease
            }
            State::Asked => Next::Ask,
            State::Held(tokens) => {
                let verdict = tokens.spend(check, now);
                if tokens.left == 0 {
                    entry.state = State::Seen;
                    entry.until = until;
                }
                self.spent.fetch_add(1, Ordering::Relaxed);
                Next::Spent(verdict)
            }
        }
    }

    /// Keeps what the store granted to a check that [`next`](Self::next) had sent for a lease
    /// at `sent`, but for the one request that is the check's own.
    pub(super) fn take(&self, check: &Check, lease: Lease, sent: u64, verdict: &Verdict) {
        let left = verdict.granted.min(lease.tokens()).saturating_sub(1);
        if left > 0 {
            self.taken.fetch_add(1, Ordering::Relaxed);
            self.granted.fetch_add(left.into(), Ordering::Relaxed);
        }
        let mut set = self.set(check);
        // None: the answer took longer than its tokens are good. There may be another lease
        // on its way by now, but none that was sent for at the same time.
        let asked = set.iter_mut().find(|entry| {
            let asked = matches!(entry.state, State::Asked) && entry.until == end(lease, sent);
            asked && entry.is_of(check)
        });
        match asked {
            None => {
                self.expired.fetch_add(left.into(), Ordering::Relaxed);
            }
            Some(entry) if left == 0 => entry.state = State::Seen,
            Some(entry) => {
                entry.state = State::Held(Tokens {
                    left,
                    limit: verdict.limit,
                    tat: (sent / 1000).saturating_add(verdict.decision.reset_after),
                });
            }
        }
    }

    /// Gives a client a place that nobody needs: one that is free or over, or else that of
    /// whoever has no lease and was seen least lately. If there is none, it goes without.
    fn see(&self, set: &mut Vec<Entry>, check: &Check, now: u64, until: u64) {
        let seen = Entry {
            client: check.client,
            policy: Arc::downgrade(&check.policy),
            until,
            state: State::Seen,
        };
        if set.len() < WAYS {
            set.push(seen);
            return;
        }
        let unneeded = set
            .iter_mut()
            .filter(|entry| entry.until <= now || matches!(entry.state, State::Seen))
            .min_by_key(|entry| entry.until);
        if let Some(entry) = unneeded {
            self.forget(entry);
            *entry = seen;
        }
    }

    /// What was held is lost.
    fn forget(&self, entry: &mut Entry) {
        if let State::Held(tokens) = &entry.state {
            self.expired
                .fetch_add(tokens.left.into(), Ordering::Relaxed);
        }
        entry.state = State::Seen;
    }

    fn set(&self, check: &Check) -> MutexGuard<'_, Vec<Entry>> {
        self.places.of((check.client, Arc::as_ptr(&check.policy)))
    }
}

impl Entry {
    fn is_of(&self, check: &Check) -> bool {
        // No other policy is put there as long as this weak reference exists.
        self.client == check.client && self.policy.as_ptr() == Arc::as_ptr(&check.policy)
    }
}

impl Tokens {
    /// One less, and what the server would have said to this check: see [`super`].
    fn spend(&mut self, check: &Check, now: u64) -> Verdict {
        self.left = self.left.saturating_sub(1);
        let limit = check.policy.limits().get(self.limit);
        let decision = limit.map_or(Decision::UNLIMITED, |limit| {
            let budget = Budget::at(now / 1000, limit.quota(), Some(self.tat));
            self.tat = budget.store(check.cost, 1).unwrap_or(self.tat);
            Decision::beside_others(limit.quota(), check.cost, budget.room(check.cost), true)
        });
        Verdict {
            decision,
            limit: self.limit,
            granted: 1,
            source: Source::Lease,
        }
    }
}

/// When a lease that is asked for at `sent` is over.
fn end(lease: Lease, sent: u64) -> u64 {
    // A minute at most.
    sent.saturating_add(lease.ttl().as_nanos() as u64)
}

#[cfg(test)]
mod tests;
