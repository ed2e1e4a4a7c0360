//! Which score an address has: that of the smallest network that holds it.
//!
//! Networks are cut into ranges that do not overlap, in order: at most two for each network
//! and one, of 5 bytes for IPv4 and 17 for IPv6. A search halves them; it allocates nothing.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Networks and their scores, in any order, nested or not.
#[derive(Debug, Default)]
pub struct Networks {
    v4: Vec<Network<u32>>,
    v6: Vec<Network<u128>>,
}

/// First address, length of the prefix, score, last address. In order, a network comes before
/// those inside it, and of equal ones that with the highest score comes last.
type Network<A> = (A, u8, u8, A);

impl Networks {
    /// Adds a network. Its host bits do not count; IPv4 within IPv6 is IPv4.
    pub fn add(&mut self, network: IpNet, score: u8) {
        match unmapped(network) {
            IpNet::V4(v4) => {
                let [first, last] = [v4.network(), v4.broadcast()].map(u32::from);
                self.v4.push((first, v4.prefix_len(), score, last));
            }
            IpNet::V6(v6) => {
                let [first, last] = [v6.network(), v6.broadcast()].map(u128::from);
                self.v6.push((first, v6.prefix_len(), score, last));
            }
        }
    }
}

/// The score of every address.
#[derive(Debug)]
pub struct Table {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Table {
    /// The score of the smallest network that the address is in; the highest, if that has
    /// several; 0, if it is in none.
    pub fn score(&self, address: IpAddr) -> u8 {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.score(v4.into()),
            IpAddr::V6(v6) => self.v6.score(v6.into()),
        }
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.v4.score.len() * 5 + self.v6.score.len() * 17
    }
}

impl From<Networks> for Table {
    fn from(Networks { v4, v6 }: Networks) -> Self {
        Self {
            v4: Ranges::new(v4, |address| address.checked_add(1)),
            v6: Ranges::new(v6, |address| address.checked_add(1)),
        }
    }
}

/// Where each range begins, and its score; it ends where the next one begins.
#[derive(Debug)]
struct Ranges<A> {
    first: Vec<A>,
    score: Vec<u8>,
}

impl<A: Copy + Ord> Ranges<A> {
    fn new(mut networks: Vec<Network<A>>, after: fn(A) -> Option<A>) -> Self {
        networks.sort_unstable();
        let (first, score) = (Vec::new(), Vec::new());
        let mut ranges = Self { first, score };
        // The networks around where we are, the innermost last: last address and score.
        let mut around: Vec<(A, u8)> = Vec::new();
        for (first, _, score, last) in networks {
            while let Some((ended, _)) = around.pop_if(|(last, _)| *last < first) {
                ranges.begin(after(ended), around.last());
            }
            around.push((last, score));
            ranges.begin(Some(first), around.last());
        }
        while let Some((ended, _)) = around.pop() {
            ranges.begin(after(ended), around.last());
        }
        ranges.first.shrink_to_fit();
        ranges.score.shrink_to_fit();
        ranges
    }

    /// Begins a range with the score of the network that it is in, if any; unless that goes on
    /// as it was.
    fn begin(&mut self, first: Option<A>, network: Option<&(A, u8)>) {
        let Some(first) = first else {
            return; // behind the last address
        };
        let score = network.map_or(0, |(_, score)| *score);
        if self.first.last() == Some(&first) {
            self.score.pop();
        } else if self.score.last() == Some(&score) {
            return;
        } else {
            self.first.push(first);
        }
        self.score.push(score);
    }

    fn score(&self, address: A) -> u8 {
        let next = self.first.partition_point(|first| *first <= address);
        let range = next.checked_sub(1).and_then(|range| self.score.get(range));
        range.copied().unwrap_or(0)
    }
}

/// `::ffff:192.0.2.0/120` is 192.0.2.0/24.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let length = v6.prefix_len().checked_sub(96);
    let v4 = v6.addr().to_ipv4_mapped().zip(length);
    let v4 = v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests;
