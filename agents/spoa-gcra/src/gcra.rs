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

/// What [`decide`] found: the room left, and the TAT to store if anything changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Budget left in µs after this request; negative: denied, and short by that much.
    pub room: i64,
    /// The TAT to store. `None`: leave the stored value and its expiry as they are.
    pub store: Option<u64>,
}

/// Decides one request of `cost` at `now`, given the stored TAT. This is the oracle for the
/// script that runs in Valkey (`store/valkey/gcra.lua`): both must answer alike.
///
/// A stored TAT in the past is as good as none. One beyond `now + burst` cannot have been
/// written under this quota (the clock went back, or the quota shrank): it is brought back
/// to the edge and *stored* so, or the client would stay denied for as long as it tries.
/// Cost 0 asks without spending.
pub fn decide(quota: Quota, tat: Option<u64>, now: u64, cost: u64) -> Outcome {
    let increment = increment(quota, cost);
    let now = now.min(MAX_NOW);
    let latest = now.saturating_add(quota.burst);
    let stored = tat.filter(|&tat| tat > now).unwrap_or(now);
    let tat = stored.min(latest);
    let used = tat.saturating_sub(now).saturating_add(increment);
    let room = signed(quota.burst).saturating_sub(signed(used));
    let store = if room >= 0 && increment > 0 {
        Some(tat.saturating_add(increment))
    } else if stored > latest {
        Some(tat)
    } else {
        None
    };
    Outcome { room, store }
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
    /// Everything follows from the room that [`decide`] or the script reported. A room that
    /// cannot occur under this quota (a foreign script's answer) is brought to the nearest
    /// that can, so that nobody is told to wait longer than one increment.
    pub fn from_room(quota: Quota, cost: u64, room: i64) -> Self {
        let increment = increment(quota, cost);
        let most = signed(quota.burst).saturating_sub(signed(increment));
        let room = room.max(signed(increment).saturating_neg()).min(most);
        let allowed = room >= 0;
        // Denied requests spend nothing, so what they would have spent is still there.
        let left = if allowed {
            room.unsigned_abs()
        } else {
            increment.saturating_sub(room.unsigned_abs())
        };
        Self {
            allowed,
            limit: quota.limit(),
            remaining: left.checked_div(quota.interval).unwrap_or(0),
            reset_after: quota.burst.saturating_sub(left),
            retry_after: (!allowed && increment <= quota.burst).then_some(room.unsigned_abs()),
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
