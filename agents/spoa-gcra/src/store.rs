//! What a store of limiter state is: a tower service from [`Check`] to [`Verdict`].
//!
//! [`memory`] keeps the state in this process and cannot fail; [`valkey`] keeps it in a
//! Valkey server or cluster and can; [`failure`] is the layer that turns the second kind
//! into the first, [`denial_cache`] the one that spares it what is denied anyway, and
//! [`lease`] the one that asks it for several requests at once.

pub mod denial_cache;
pub mod failure;
pub mod lease;
pub mod memory;
mod places;
mod rooms;
pub mod valkey;

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

pub use self::rooms::Rooms;
use crate::gcra::Decision;
use crate::policy::Policy;

/// One question to a store: may this client spend this much now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Who is asking.
    pub client: Client,
    /// What applies.
    pub policy: Arc<Policy>,
    /// How much of each limit a request spends; 0 asks without spending.
    pub cost: u64,
    /// How many such requests to decide, as if one came right after the other; at least 1.
    /// The verdict is the first one's, and says how many of them pass.
    pub count: u32,
    /// When the answer stops being useful. A store that waits for others must not spend
    /// anything after it.
    pub deadline: Instant,
}

/// A client as the limiter knows it: an address, already canonical and cut to the prefix
/// that is limited as one (see [`crate::identity`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub IpAddr);

/// As one number, which takes less time than an [`IpAddr`]. That some IPv6 client has the hash
/// of an IPv4 one does no harm.
impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let number = match self.0 {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        };
        number.hash(state);
    }
}

impl Client {
    /// Appends the client's text, without the detour of formatting where that is easy.
    pub fn append_to(self, text: &mut String) {
        let IpAddr::V4(v4) = self.0 else {
            // Writing to a String cannot fail.
            let _ = write!(text, "{self}");
            return;
        };
        let mut separator = "";
        for octet in v4.octets() {
            text.push_str(separator);
            text.push_str(itoa::Buffer::new().format(octet));
            separator = ".";
        }
    }
}

/// The client's text in keys: the bare address, `192.0.2.7` or `2001:db8:1:2::`.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A store's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What was decided about the (first) request.
    pub decision: Decision,
    /// Which limit of the policy the numbers are about: of those that deny it the one that
    /// does so for longest, or else the one with the fewest requests left.
    pub limit: usize,
    /// How many of [`Check::count`] requests pass.
    pub granted: u32,
    /// Who decided it.
    pub source: Source,
}

/// Who decided. The text form is the value of the variable `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The shared state in Valkey.
    Valkey,
    /// What Valkey said a moment ago, which still holds: a denial.
    Cache,
    /// A lease: Valkey granted it a moment ago, among others at once.
    Lease,
    /// The in-memory store, as configured.
    Memory,
    /// The failure policy, because the store did not answer in time.
    Fallback,
    /// The policy's list of networks; no store was asked.
    List,
    /// The policy, which has no limit; no store was asked.
    Unlimited,
}

impl Source {
    /// All there are, in their order.
    pub const ALL: [Self; 7] = [
        Self::Valkey,
        Self::Cache,
        Self::Lease,
        Self::Memory,
        Self::Fallback,
        Self::List,
        Self::Unlimited,
    ];

    /// The wire form: `valkey`, `cache`, `lease`, `memory`, `fallback`, `list`,
    /// `unlimited`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valkey => "valkey",
            Self::Cache => "cache",
            Self::Lease => "lease",
            Self::Memory => "memory",
            Self::Fallback => "fallback",
            Self::List => "list",
            Self::Unlimited => "unlimited",
        }
    }
}
