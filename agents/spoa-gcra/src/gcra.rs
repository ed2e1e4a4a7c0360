//! The generic cell rate algorithm in integer microseconds; pure: `now` is an argument,
//! and nothing here stores or sends anything.
//!
//! A client's whole state is one number, its *theoretical arrival time* (TAT): the instant
//! at which its bucket is full again. A request of cost `q` moves the TAT forward by
//! `q × emission interval`, and passes if that leaves the TAT no further ahead of `now`
//! than the burst budget. Because the budget covers the request itself, a fresh client
//! passes exactly `burst / interval` requests at once.
//!
//! ```text
//!          now                TAT            now + burst
//!  ─────────┼──────────────────┼──────────────────┼──────▶ time
//!           ◀────── used ──────▶◀───── room ──────▶
//! ```

/// The largest interval or burst, in microseconds: one year. With it every sum of a clock
/// reading and a budget stays below 2^53, the largest integer that a Lua number holds.
pub const MAX_MICROS: u64 = 366 * 24 * 3600 * 1_000_000;

/// The largest cost of one request. Bounds `cost × interval` well inside 64 bits.
pub const MAX_COST: u64 = 1_000_000;

/// The largest clock reading that [`decide`] tells apart; later ones count as this one, so
/// that `now + burst` never overflows. 580 000 years.
const MAX_NOW: u64 = u64::MAX - MAX_MICROS;

/// One limit: a sustained rate and the burst above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    interval: u64,
    burst: u64,
}

/// Why two numbers are not a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The emission interval is zero (no limit at all) or over [`MAX_MICROS`].
    #[error("the emission interval must be 1 to {MAX_MICROS} µs")]
    Interval,
    /// The burst is below one interval, so that no request could ever pass, or over
    /// [`MAX_MICROS`].
    #[error("the burst must be at least one emission interval and at most {MAX_MICROS} µs")]
    Burst,
}

impl Quota {
    /// A limit of one request every `interval` µs sustained, `burst / interval` at once.
    ///
    /// # Errors
    /// Unless `1 <= interval <= burst <= MAX_MICROS`.
    pub const fn new(interval: u64, burst: u64) -> Result<Self, QuotaError> {
        if interval == 0 || interval > MAX_MICROS {
            return Err(QuotaError::Interval);
        }
        if burst < interval || burst > MAX_MICROS {
            return Err(QuotaError::Burst);
        }
        Ok(Self { interval, burst })
    }

    /// Emission interval in µs: the time one request "costs".
    pub const fn interval(&self) -> u64 {
        self.interval
    }

    /// Burst budget in µs: how far ahead of now the TAT may be.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Requests that a client with no history may send at once.
    pub const fn limit(&self) -> u64 {
        match self.burst.checked_div(self.interval) {
            Some(limit) => limit,
            None => 0, // never: the interval is not zero
        }
    }
}

/// A client's state under one quota at one instant.
///
/// A stored TAT in the past is as good as none. One beyond `now + burst` cannot have been
/// written under this quota (the clock went back, or the quota shrank): it is brought back
/// to the edge and *stored* so, or the client would stay denied for as long as it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    quota: Quota,
    now: u64,
    /// `now` to `now + burst`.
    tat: u64,
    /// The stored TAT is not one that this quota leads to.
    heal: bool,
}

impl Budget {
    /// What is left at `now`, given the stored TAT. Both in µs of the store's clock.
    pub fn at(now: u64, quota: Quota, tat: Option<u64>) -> Self {
        let now = now.min(MAX_NOW);
        let latest = now.saturating_add(quota.burst);
        let stored = tat.filter(|&tat| tat > now).unwrap_or(now);
        Self {
            quota,
            now,
            tat: stored.min(latest),
            heal: stored > latest,
        }
    }

    /// µs that would be left after one request of `cost`; negative: there is not enough, and
    /// it is short by that much.
    pub fn room(&self, cost: u64) -> i64 {
        let used = self.tat.saturating_sub(self.now);
        let used = used.saturating_add(increment(self.quota, cost));
        signed(self.quota.burst).saturating_sub(signed(used))
    }

    /// The TAT to store after `granted` requests of `cost`, one of [`granted`]'s answers.
    /// `None`: leave the stored value and its expiry as they are.
    pub fn store(&self, cost: u64, granted: u64) -> Option<u64> {
        let spent = increment(self.quota, cost).saturating_mul(granted);
        (spent > 0 || self.heal).then(|| self.tat.saturating_add(spent))
    }
}

/// How many of `count` equal requests pass that are decided one after the other at the same
/// instant, given the room that each limit leaves after the first of them. A request passes
/// if every limit has room for it, and else spends from none. Requests of cost 0 all pass.
pub fn granted(limits: impl IntoIterator<Item = (Quota, i64)>, cost: u64, count: u64) -> u64 {
    limits
        .into_iter()
        .fold(count, |count, (quota, room)| match u64::try_from(room) {
            Err(_negative) => 0,
            Ok(room) => match room.checked_div(increment(quota, cost)) {
                Some(more) => count.min(more.saturating_add(1)),
                None => count,
            },
        })
}

/// What [`decide`] found: the room left, and the TAT to store if anything changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Budget left in µs after this request; negative: denied, and short by that much.
    pub room: i64,
    /// The TAT to store. `None`: leave the stored value and its expiry as they are.
    pub store: Option<u64>,
}

/// Decides one request of `cost` at `now` under one limit, given the stored TAT. With
/// [`Budget`] and [`granted`], which it is made of, this is the oracle for the script that
/// runs in Valkey (`store/valkey/gcra.lua`): both must answer alike. Cost 0 asks without
/// spending.
pub fn decide(quota: Quota, tat: Option<u64>, now: u64, cost: u64) -> Outcome {
    let budget = Budget::at(now, quota, tat);
    let room = budget.room(cost);
    Outcome {
        room,
        store: budget.store(cost, granted([(quota, room)], cost, 1)),
    }
}

/// What a client is told about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is within the limit.
    pub allowed: bool,
    /// Requests that a client with no history may send at once.
    pub limit: u64,
    /// Requests of cost 1 that would pass right now, after this one.
    pub remaining: u64,
    /// µs until the whole burst is available again, if nothing more is sent.
    pub reset_after: u64,
    /// µs until this request would pass. `None`: it did pass, or it never can because it
    /// costs more than the whole burst.
    pub retry_after: Option<u64>,
}

impl Decision {
    /// Where there is no limit.
    pub const UNLIMITED: Self = Self {
        allowed: true,
        limit: u64::MAX,
        remaining: u64::MAX,
        reset_after: 0,
        retry_after: None,
    };

    /// Everything follows from the room that [`decide`] or the script reported. A room that
    /// cannot occur under this quota (a foreign script's answer) is brought to the nearest
    /// that can, so that nobody is told to wait longer than one increment.
    pub fn from_room(quota: Quota, cost: u64, room: i64) -> Self {
        Self::beside_others(quota, cost, room, room >= 0)
    }

    /// The same where `allowed` depends on further limits too: if one of them denies, nothing
    /// is spent from this one, whatever its room.
    pub fn beside_others(quota: Quota, cost: u64, room: i64, allowed: bool) -> Self {
        let increment = increment(quota, cost);
        let most = signed(quota.burst).saturating_sub(signed(increment));
        let room = room.max(signed(increment).saturating_neg()).min(most);
        // Denied requests spend nothing, so what they would have spent is still there.
        let left = if allowed {
            room
        } else {
            room.saturating_add(signed(increment))
        };
        let left = u64::try_from(left).unwrap_or(0);
        Self {
            allowed,
            limit: quota.limit(),
            remaining: left.checked_div(quota.interval).unwrap_or(0),
            reset_after: quota.burst.saturating_sub(left),
            retry_after: (!allowed && increment <= quota.burst).then(|| room.min(0).unsigned_abs()),
        }
    }
}

/// µs that a request of `cost` adds to the TAT. Capped at 2^52, beyond any burst, so that
/// the script's doubles stay exact.
pub fn increment(quota: Quota, cost: u64) -> u64 {
    quota.interval.saturating_mul(cost).min(1 << 52)
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
