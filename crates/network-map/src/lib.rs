//! Which value an address has: that of the smallest network that holds it.
//!
//! For lists that are made once and asked often, of up to millions of networks. Networks are
//! cut into ranges that do not overlap, in order: at most two for each network and two more, of
//! 4 bytes and a value for IPv4, and 16 and a value for IPv6. A search halves them; it allocates
//! nothing.
//!
//! ```
//! use network_map::NetworkMap;
//!
//! let networks = [("10.0.0.0/8", 50), ("10.1.0.0/16", 100), ("2001:db8::/32", 70)];
//! let networks = networks.map(|(network, score)| (network.parse().unwrap(), score));
//! let scores: NetworkMap<u8> = networks.into_iter().collect();
//!
//! let score = |address: &str| scores.get(address.parse().unwrap());
//! assert_eq!(score("10.1.2.3"), 100);
//! assert_eq!(score("10.2.0.0"), 50);
//! assert_eq!(score("::ffff:10.2.0.0"), 50);
//! assert_eq!(score("192.0.2.7"), 0);
//! ```
//!
//! An address in no network has the default of the value's type. Where that could be a
//! network's value, too, an [`Option`] tells them apart:
//!
//! ```
//! use network_map::NetworkMap;
//!
//! let zone = ("192.0.2.0/24".parse().unwrap(), Some(0));
//! let zones: NetworkMap<Option<u8>> = [zone].into_iter().collect();
//! assert_eq!(zones.get("192.0.2.7".parse().unwrap()), Some(0));
//! assert_eq!(zones.get("198.51.100.7".parse().unwrap()), None);
//! ```
//!
//! [`read_list`] reads networks from files. A map does not change: another one is made, and put
//! in its place.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

// The README's example compiles.
#[cfg_attr(doctest, doc = include_str!("../README.md"))]
#[cfg(doctest)]
struct Readme;

mod list;
mod network;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use ipnet;
pub use list::{ListError, read_list};
pub use network::{canonical, parse_network};

/// The value of every address. From an iterator of networks and their values, in any order,
/// nested or not.
///
/// Networks are taken as [`canonical`]: host bits do not count, and IPv4 within IPv6 is IPv4.
/// Other networks of IPv6, even `::/0`, say nothing about IPv4. Of equal networks the one with
/// the highest value counts.
///
/// Maps are equal if each address has the same value in both, whatever networks say so.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkMap<V> {
    v4: Ranges<u32, V>,
    v6: Ranges<u128, V>,
}

impl<V: Copy + Default> NetworkMap<V> {
    /// The value of the smallest network that the address is in. Of one that is in none it is
    /// `V`'s default.
    pub fn get(&self, address: IpAddr) -> V {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.get(v4.into()),
            IpAddr::V6(v6) => self.v6.get(v6.into()),
        }
    }
}

impl<V> NetworkMap<V> {
    /// The memory that its ranges take, in bytes; all of it but for the map itself.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    /// Whether every address has the default: there is no network, or none with another value.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }
}

/// How much there is of it, which may be too much to show.
impl<V> fmt::Debug for NetworkMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkMap")
            .field("v4_ranges", &self.v4.first.len())
            .field("v6_ranges", &self.v6.first.len())
            .finish_non_exhaustive()
    }
}

impl<V> Default for NetworkMap<V> {
    fn default() -> Self {
        let (v4, v6) = (Ranges::default(), Ranges::default());
        Self { v4, v6 }
    }
}

/// First address, length of the prefix, value, last address. In order, a network comes before
/// those inside it, and of equal ones that with the highest value comes last.
type Network<A, V> = (A, u8, V, A);

impl<V: Copy + Default + Ord> FromIterator<(IpNet, V)> for NetworkMap<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(networks: I) -> Self {
        let (mut all_v4, mut all_v6) = (Vec::new(), Vec::new());
        // Nobody asks for IPv4 here. With one value for it, maps that differ in nothing else are
        // equal.
        let [first, last] = [0xffff_0000_0000, 0xffff_ffff_ffff];
        all_v6.push((first, 96, V::default(), last));
        for (network, value) in networks {
            match canonical(network) {
                IpNet::V4(v4) => {
                    let [first, last] = [v4.network(), v4.broadcast()].map(u32::from);
                    all_v4.push((first, v4.prefix_len(), value, last));
                }
                IpNet::V6(v6) => {
                    let [first, last] = [v6.network(), v6.broadcast()].map(u128::from);
                    all_v6.push((first, v6.prefix_len(), value, last));
                }
            }
        }
        Self {
            v4: Ranges::new(all_v4, |address| address.checked_add(1)),
            v6: Ranges::new(all_v6, |address| address.checked_add(1)),
        }
    }
}

/// Where each range begins, and its value; it ends where the next one begins.
#[derive(Clone, PartialEq, Eq)]
struct Ranges<A, V> {
    // Apart, so that the search goes over as little memory as can be.
    first: Vec<A>,
    value: Vec<V>,
}

impl<A, V> Ranges<A, V> {
    fn bytes(&self) -> usize {
        self.first.len() * (size_of::<A>() + size_of::<V>())
    }
}

impl<A, V> Default for Ranges<A, V> {
    fn default() -> Self {
        let (first, value) = (Vec::new(), Vec::new());
        Self { first, value }
    }
}

impl<A: Copy + Ord, V: Copy + Default> Ranges<A, V> {
    fn get(&self, address: A) -> V {
        let next = self.first.partition_point(|first| *first <= address);
        let range = next.checked_sub(1).and_then(|range| self.value.get(range));
        range.copied().unwrap_or_default()
    }
}

impl<A: Copy + Ord, V: Copy + Default + Ord> Ranges<A, V> {
    fn new(mut networks: Vec<Network<A, V>>, after: fn(A) -> Option<A>) -> Self {
        networks.sort_unstable();
        let mut ranges = Self::default();
        // The networks around where we are, the innermost last: last address and value.
        let mut around: Vec<(A, V)> = Vec::new();
        for (first, _, value, last) in networks {
            while let Some((ended, _)) = around.pop_if(|(last, _)| *last < first) {
                ranges.begin(after(ended), around.last());
            }
            around.push((last, value));
            ranges.begin(Some(first), around.last());
        }
        while let Some((ended, _)) = around.pop() {
            ranges.begin(after(ended), around.last());
        }
        ranges.first.shrink_to_fit();
        ranges.value.shrink_to_fit();
        ranges
    }

    /// Begins a range with the value of the network that it is in, if any; unless that goes on
    /// as it was.
    fn begin(&mut self, first: Option<A>, network: Option<&(A, V)>) {
        let Some(first) = first else {
            return; // behind the last address
        };
        if self.first.last() == Some(&first) {
            self.first.pop();
            self.value.pop();
        }
        let value = network.map_or_else(V::default, |(_, value)| *value);
        if self.value.last().copied().unwrap_or_default() != value {
            self.first.push(first);
            self.value.push(value);
        }
    }
}

#[cfg(test)]
mod tests;
