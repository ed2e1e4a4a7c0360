//! The limiter's state in this process: exact, bounded in memory, gone when it ends.
//!
//! What is kept of a client is a TAT for each of its limits. One that is past says nothing
//! that a client never seen would not, so it is dropped by whoever comes by: each call that
//! adds one also looks at the next few places of the same shard. There is no background
//! task, and no call ever works on more than one shard: all limits of a client are in the
//! same one, so that they are decided together.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hashbrown::HashTable;
use tower_service::Service;

use super::{Check, Client, Rooms, Source, Verdict};
use crate::gcra::{Budget, Decision, granted};
use crate::policy::{Limit, LimitId, MAX_LIMITS};

/// The most clients a store can be asked to remember (times limits, where a client has
/// several). About 7.5 GB when full.
pub const MAX_CLIENTS: usize = 100_000_000;

/// Clients in one shard at most. Half of what a table of 4096 buckets takes, so that a
/// full shard never grows past 33 × 4096 bytes (75 a client), and small enough that the
/// rare call in which a shard's table grows takes well under a millisecond.
const SHARD_CLIENTS: usize = 1792;

/// Clients that a call looks at when it adds one: to drop the expired, and to choose whom
/// to evict if the shard is full of live ones.
const SAMPLE: usize = 8;

/// Buckets that it looks at for them; few are needed unless the shard is nearly empty.
const SWEEP: usize = 64;

/// The in-memory store. Clones share one state.
///
/// It never fails and never waits (but for another call on the same shard, well under a
/// microsecond), so it pays no heed to a check's deadline. When it is full it makes room
/// by forgetting the client of least debt among a few, which may then send a burst early;
/// it never refuses a newcomer.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Box<[Shard]>,
    /// Clients per shard at most; not zero.
    shard_clients: usize,
    /// Keyed at random, so that nobody can choose addresses that collide.
    hasher: RandomState,
    started: Instant,
    evictions: AtomicU64,
}

/// Aligned so that two shards' locks are never on one cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<Table>);

#[derive(Default)]
struct Table {
    clients: HashTable<Entry>,
    /// The bucket looked at last.
    hand: usize,
}

/// 32 bytes.
struct Entry {
    client: Client,
    limit: LimitId,
    /// µs since the store was made.
    tat: u64,
}

impl MemoryStore {
    /// A store that remembers `max_clients` at most, brought into `1..=`[`MAX_CLIENTS`].
    ///
    /// Memory is taken as clients come, and kept: at most 135 kB for each 1792 clients of
    /// `max_clients`, 75 bytes a client. Clients spread over the shards by chance, so
    /// evictions start a few percent below the bound.
    pub fn new(max_clients: usize) -> Self {
        let max_clients = max_clients.clamp(1, MAX_CLIENTS);
        let shards = max_clients.div_ceil(SHARD_CLIENTS);
        Self {
            inner: Arc::new(Inner {
                shards: std::iter::repeat_with(Shard::default)
                    .take(shards)
                    .collect(),
                shard_clients: max_clients / shards,
                hasher: RandomState::new(),
                started: Instant::now(),
                evictions: AtomicU64::new(0),
            }),
        }
    }

    /// Decides at this moment.
    pub fn decide(&self, check: &Check) -> Verdict {
        // Read under the shard's lock: one client's clock then never goes back.
        self.decide_by(check, || {
            u64::try_from(self.inner.started.elapsed().as_micros()).unwrap_or(u64::MAX)
        })
    }

    /// Decides at `now_micros`, in µs since the store was made. Not to be mixed with
    /// [`decide`](Self::decide), which reads a clock.
    pub fn decide_at(&self, check: &Check, now_micros: u64) -> Verdict {
        self.decide_by(check, || now_micros)
    }

    fn decide_by(&self, check: &Check, clock: impl FnOnce() -> u64) -> Verdict {
        let inner = &*self.inner;
        let hash = inner.hash(check.client);
        let mut place = Place {
            table: inner.shard(hash).lock(),
            now: clock(),
            client: check.client,
            hash,
            inner,
        };
        match check.policy.limits() {
            // What nearly all policies are, at half the work.
            [limit] => place.decide_one(check, limit),
            limits => place.decide_all(check, limits),
        }
    }

    /// Clients remembered now, among them expired ones that nobody came by yet. Locks one
    /// shard after the other: for metrics, not for every request.
    pub fn len(&self) -> usize {
        self.sum(|table| table.clients.len())
    }

    /// Whether no client is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the state takes on the heap. Locks as [`len`](Self::len) does.
    pub fn allocated(&self) -> usize {
        size_of_val(&*self.inner.shards) + self.sum(|table| table.clients.allocation_size())
    }

    /// How often a client was forgotten before its TAT had passed, because its shard was
    /// full. More than a few: `SPOA_MEMORY_CLIENTS` is too small for the traffic.
    pub fn evictions(&self) -> u64 {
        self.inner.evictions.load(Ordering::Relaxed)
    }

    fn sum(&self, of: impl Fn(&Table) -> usize) -> usize {
        self.inner
            .shards
            .iter()
            .map(|shard| of(&shard.lock()))
            .sum()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("shards", &self.inner.shards.len())
            .field("shard_clients", &self.inner.shard_clients)
            .finish_non_exhaustive()
    }
}

impl Service<Check> for MemoryStore {
    type Response = Verdict;
    type Error = Infallible;
    type Future = Ready<Result<Verdict, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, check: Check) -> Self::Future {
        ready(Ok(self.decide(&check)))
    }
}

impl Inner {
    fn hash(&self, client: Client) -> u64 {
        self.hasher.hash_one(client)
    }

    /// Picked by the middle bits of the hash: the table inside uses the lowest and the
    /// highest, and must find all of their values among its own clients.
    #[expect(
        clippy::indexing_slicing,
        reason = "a 32-bit number times len, over 2^32, is below len"
    )]
    fn shard(&self, hash: u64) -> &Shard {
        let middle = u64::from((hash >> 16) as u32);
        &self.shards[((middle * self.shards.len() as u64) >> 32) as usize]
    }
}

/// Where a client is, and when: its shard, locked.
struct Place<'a> {
    table: MutexGuard<'a, Table>,
    now: u64,
    client: Client,
    hash: u64,
    inner: &'a Inner,
}

impl Place<'_> {
    #[inline]
    fn decide_one(&mut self, check: &Check, limit: &Limit) -> Verdict {
        let (now, quota, cost) = (self.now, limit.quota(), check.cost);
        let entry = self.entry(limit.id());
        let budget = Budget::at(now, quota, entry.as_ref().map(|entry| entry.tat));
        let room = budget.room(cost);
        let granted = granted([(quota, room)], cost, check.count.into());
        match (budget.store(cost, granted), entry) {
            (None, _) => {}
            (Some(tat), Some(entry)) => entry.tat = tat,
            (Some(tat), None) => self.insert(limit.id(), tat),
        }
        Verdict {
            decision: Decision::from_room(quota, cost, room),
            limit: 0,
            // Not above `count`.
            granted: u32::try_from(granted).unwrap_or(check.count),
            source: Source::Memory,
        }
    }

    fn decide_all(&mut self, check: &Check, limits: &[Limit]) -> Verdict {
        let mut budgets = [None; MAX_LIMITS];
        for (budget, limit) in budgets.iter_mut().zip(limits) {
            let tat = self.entry(limit.id()).map(|entry| entry.tat);
            *budget = Some(Budget::at(self.now, limit.quota(), tat));
        }
        let budgets = budgets.iter().flatten();
        let rooms = Rooms::new(budgets.clone().map(|budget| budget.room(check.cost)));
        let verdict = rooms.verdict(check, 0, Source::Memory);
        for (budget, limit) in budgets.zip(limits) {
            let Some(tat) = budget.store(check.cost, verdict.granted.into()) else {
                continue;
            };
            // Looked up again: the limit before may have moved this one, or evicted it.
            match self.entry(limit.id()) {
                Some(entry) => entry.tat = tat,
                None => self.insert(limit.id(), tat),
            }
        }
        verdict
    }

    /// All limits of a client have the same hash.
    #[inline]
    fn entry(&mut self, limit: LimitId) -> Option<&mut Entry> {
        let client = self.client;
        let is_it = |entry: &Entry| entry.limit == limit && entry.client == client;
        self.table.clients.find_mut(self.hash, is_it)
    }

    fn insert(&mut self, limit: LimitId, tat: u64) {
        let Self { inner, client, .. } = *self;
        if self.table.make_room(inner.shard_clients, self.now) {
            inner.evictions.fetch_add(1, Ordering::Relaxed);
        }
        let entry = Entry { client, limit, tat };
        let clients = &mut self.table.clients;
        clients.insert_unique(self.hash, entry, |entry| inner.hash(entry.client));
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves a table whole: entries are written in one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Leaves room for one more client under `limit`. Says whether a live one had to go.
    fn make_room(&mut self, limit: usize, now: u64) -> bool {
        // Ends: a full table has entries, and the hand comes to them.
        loop {
            let least = self.sweep(now);
            if self.clients.len() < limit {
                return false;
            }
            if let Some(bucket) = least
                && let Ok(entry) = self.clients.get_bucket_entry(bucket)
            {
                entry.remove();
                return true;
            }
        }
    }

    /// Drops what has expired among the next [`SAMPLE`] clients. Returns the bucket of the
    /// least debt among the others.
    fn sweep(&mut self, now: u64) -> Option<usize> {
        let buckets = self.clients.num_buckets();
        let mut least: Option<(u64, usize)> = None;
        let mut seen = 0;
        for _ in 0..SWEEP.min(buckets) {
            self.hand = if self.hand + 1 < buckets {
                self.hand + 1
            } else {
                0
            };
            let Ok(entry) = self.clients.get_bucket_entry(self.hand) else {
                continue;
            };
            seen += 1;
            let tat = entry.get().tat;
            if tat <= now {
                entry.remove();
            } else if least.is_none_or(|(least, _)| tat < least) {
                least = Some((tat, self.hand));
            }
            if seen == SAMPLE {
                break;
            }
        }
        least.map(|(_, bucket)| bucket)
    }
}

#[cfg(test)]
mod tests;
