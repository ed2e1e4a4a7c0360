//! Who is denied most: what an operator asks first when much is denied, answered without a
//! log of clients and without a label for each of them.
//!
//! Denials are counted by client, policy and whether the policy is in shadow, by Space-Saving
//! (A. Metwally, D. Agrawal, A. El Abbadi: *Efficient Computation of Frequent and Top-k Elements
//! in Data Streams*, ICDT 2005): a fixed number of counters, and bounds that hold whatever
//! clients do. With each count comes by how much it may be too high. By default a client is
//! counted as its network: its own address is not kept here, and so cannot be shown.
//!
//! ```text
//!          previous minute          this minute     now
//!   ──┼───────────────────────┼───────────────────────▶
//!     ◀────────────── what the list is about ──────────▶
//! ```
//!
//! * **Time** goes in minutes: a list is about this one so far and the whole one before, and
//!   what is older is forgotten. Denials bring their time with them; no clock is read for one.
//! * **Bounds**: `true <= denied <= true + error` for each entry, and `error` is at most the
//!   number of denials that the list is about, divided by 512. Whoever had a twentieth of them
//!   or more is in the list: see [`COUNTERS`].
//! * **Memory** is taken once, 350 kB, and none when it is off.
//! * **Cost**: a request that passes carries a handle and its client, and is not looked at. One
//!   that is denied takes a lock that it shares with a quarter of the clients, finds its counter
//!   by a hash and moves it by bisection: 500 to 650 instructions in all
//!   (`cargo bench -p spoa-gcra --bench limiter -- top` says how long that takes).
//!
//! Denied by a policy's `deny` list, a client is not limited but known, and not counted.

mod space_saving;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::error;

use self::space_saving::{Estimate, SpaceSaving};
use crate::policy::Policy;
use crate::store::Client;

/// The most entries of a list.
pub const ENTRIES: usize = 20;

/// Counters of a minute in one shard. `n` denials in all, and those of one shard are no more,
/// make no error above `n / 512`. So for somebody with a twentieth of them, `n / 20`, to be
/// missing, [`ENTRIES`] others would each be counted as often, and have `n / 20 - n / 512` in
/// truth: `20 (n / 20 - n / 512) + n / 20 = 1.01 n`, more than there are.
pub const COUNTERS: u16 = 512;

/// How many parts, each behind its own lock, clients are spread over.
const SHARDS: usize = 4;

/// The list is about one to two of them.
const PERIOD: Duration = Duration::from_secs(60);

/// What clients are called. The text form is the value of `SPOA_TOP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Names {
    /// Nothing is counted.
    Off,
    /// By their network: IPv4 /24, IPv6 /48.
    #[default]
    Networks,
    /// As they are limited: an IPv4 address, or an IPv6 prefix.
    Clients,
}

/// A text that is no [`Names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of off, networks, clients")]
pub struct UnknownNames;

impl FromStr for Names {
    type Err = UnknownNames;

    fn from_str(text: &str) -> Result<Self, UnknownNames> {
        match text {
            "off" => Ok(Self::Off),
            "networks" => Ok(Self::Networks),
            "clients" => Ok(Self::Clients),
            _ => Err(UnknownNames),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Networks => "networks",
            Self::Clients => "clients",
        })
    }
}

/// The most limited clients. Clones count together.
#[derive(Clone)]
pub struct Top {
    /// `None`: off.
    denials: Option<Arc<Denials>>,
}

struct Denials {
    names: Names,
    prefixes: Prefixes,
    shards: [Shard; SHARDS],
    /// Keyed at random, so that nobody can choose addresses that share a shard.
    hasher: RandomState,
    started: Instant,
}

/// Aligned so that two shards' locks are never on one cache line.
#[repr(align(64))]
struct Shard(Mutex<Minutes>);

struct Minutes {
    /// The number of the current one.
    number: u64,
    current: SpaceSaving<Key>,
    previous: SpaceSaving<Key>,
}

/// Whose denials have a counter. The hash is the client's only: it has few policies.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    client: Client,
    policy: Arc<str>,
    shadow: bool,
}

impl Top {
    /// Counts clients by these names. They are limited by IPv6 prefixes of `ipv6_prefix` bits,
    /// and never told apart by more.
    pub fn new(names: Names, ipv6_prefix: u8) -> Self {
        let prefixes = match names {
            Names::Off => None,
            Names::Networks => Some(Prefixes::new(24, ipv6_prefix.min(48))),
            Names::Clients => Some(Prefixes::new(32, ipv6_prefix)),
        };
        let denials = prefixes.map(|prefixes| Denials {
            names,
            prefixes,
            shards: std::array::from_fn(|_| Shard::new()),
            hasher: RandomState::new(),
            started: Instant::now(),
        });
        Self {
            denials: denials.map(Arc::new),
        }
    }

    /// Counts a request that a policy denied to a client, or would have if it were not in shadow.
    /// `at`: when it came.
    pub fn denied(&self, client: Client, policy: &Policy, at: Instant) {
        let Some(denials) = &self.denials else {
            return;
        };
        let client = denials.prefixes.cut(client);
        let hash = denials.hasher.hash_one(client);
        let mut minutes = denials.shard(hash).lock();
        minutes.advance(denials.minute(at));
        minutes.current.add(
            hash,
            |key| key.is(client, &policy.name, policy.shadow),
            || Key {
                client,
                policy: Arc::clone(&policy.name),
                shadow: policy.shadow,
            },
        );
    }

    /// The list as of `now`, in JSON: the [`ENTRIES`] that were denied most, and of those that
    /// are equal the first by client and policy. Locks one shard after the other, for some tens
    /// of µs: for an operator, not for every request.
    ///
    /// ```json
    /// {"names":"networks","window_seconds":87,"clients":[
    ///   {"client":"203.0.113.0/24","policy":"default","denied":123,"error":4},
    ///   {"client":"2001:db8:7::/48","policy":"trial","shadow":true,"denied":9,"error":4}]}
    /// ```
    pub fn json(&self, now: Instant) -> String {
        let denials = self.denials.as_ref();
        let document = Document {
            names: self.names().to_string(),
            window_seconds: denials.map_or(0, |denials| denials.window(now)),
            clients: denials.map_or_else(Vec::new, |denials| denials.list(now)),
        };
        // Only keys that are no texts and writers can fail.
        serde_json::to_string(&document).unwrap_or_else(|error| {
            error!(%error, "no list of clients; this is a defect, please report it");
            String::new()
        })
    }

    fn names(&self) -> Names {
        let denials = self.denials.as_ref();
        denials.map_or(Names::Off, |denials| denials.names)
    }
}

impl fmt::Debug for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Top")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

/// What is shown.
#[derive(Serialize)]
struct Document {
    names: String,
    /// How far the list goes back: one to two minutes, less after the start.
    window_seconds: u64,
    clients: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    client: String,
    policy: String,
    /// Whether the policy is in shadow, so that nobody was denied in truth.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shadow: bool,
    denied: u64,
    error: u64,
}

impl Denials {
    fn minute(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_secs() / PERIOD.as_secs()
    }

    /// How far the list goes back, in s, rounded up.
    fn window(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        let forgotten = self.minute(now).saturating_sub(1) * PERIOD.as_secs();
        let window = since.saturating_sub(Duration::from_secs(forgotten));
        window.as_secs() + u64::from(window.subsec_nanos() > 0)
    }

    fn list(&self, now: Instant) -> Vec<Entry> {
        let minute = self.minute(now);
        let mut found = Vec::with_capacity(SHARDS * 2 * usize::from(COUNTERS));
        for shard in &self.shards {
            let mut minutes = shard.lock();
            minutes.advance(minute);
            found.extend(minutes.denied());
        }
        found.sort_unstable_by(|(one, denied), (other, more)| {
            let denied = more.count.cmp(&denied.count);
            denied.then_with(|| one.order().cmp(&other.order()))
        });
        found.truncate(ENTRIES);
        let entries = found.into_iter().map(|(key, denied)| Entry {
            client: self.prefixes.text(key.client),
            policy: key.policy.as_ref().to_owned(),
            shadow: key.shadow,
            denied: denied.count,
            error: denied.error,
        });
        entries.collect()
    }

    /// Picked by the middle bits of the hash: the index inside uses the lowest and the highest.
    #[expect(clippy::indexing_slicing, reason = "a remainder is below its divisor")]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Shard {
    fn new() -> Self {
        Self(Mutex::new(Minutes {
            number: 0,
            current: SpaceSaving::new(COUNTERS),
            previous: SpaceSaving::new(COUNTERS),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Minutes> {
        // Nothing below panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Minutes {
    /// Goes on to the minute of this number. A denial that came in the one before, and is late, is
    /// counted in the current one.
    fn advance(&mut self, number: u64) {
        match number.saturating_sub(self.number) {
            0 => return,
            1 => mem::swap(&mut self.current, &mut self.previous),
            _ => self.previous.clear(),
        }
        self.current.clear();
        self.number = number;
    }

    /// Everybody with a counter, and what both minutes know of them. Who has one in
    /// both comes once.
    fn denied(&self) -> impl Iterator<Item = (Key, Estimate)> {
        let both = self.current.iter().map(|(key, hash, now)| {
            let before = self.previous.get(hash, |other| other == key);
            let before = before.unwrap_or_else(|| self.previous.unknown());
            (key.clone(), now + before)
        });
        let before = self.previous.iter().filter_map(|(key, hash, before)| {
            let now = self.current.get(hash, |other| other == key);
            let only = now.is_none();
            only.then(|| (key.clone(), before + self.current.unknown()))
        });
        both.chain(before)
    }
}

impl Key {
    fn is(&self, client: Client, policy: &str, shadow: bool) -> bool {
        self.client == client && *self.policy == *policy && self.shadow == shadow
    }

    fn order(&self) -> (Client, &str, bool) {
        (self.client, &self.policy, self.shadow)
    }
}

/// How much of an address is a name.
struct Prefixes {
    ipv4: u8,
    ipv6: u8,
}

impl Prefixes {
    fn new(ipv4: u8, ipv6: u8) -> Self {
        Self { ipv4, ipv6 }
    }

    /// The client's name, as the first address of all that have it.
    fn cut(&self, client: Client) -> Client {
        Client(match client.0 {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(self.ipv4.into()).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & !rest).into()
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(self.ipv6.into()).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & !rest).into()
            }
        })
    }

    /// `203.0.113.0/24`; one address is without the length.
    fn text(&self, client: Client) -> String {
        let (bits, all) = match client.0 {
            IpAddr::V4(_) => (self.ipv4, 32),
            IpAddr::V6(_) => (self.ipv6, 128),
        };
        if bits >= all {
            return client.to_string();
        }
        format!("{client}/{bits}")
    }
}

#[cfg(test)]
mod tests;
