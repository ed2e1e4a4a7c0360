//! Networks whose clients are let through or turned away unasked.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// What a list says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    /// Never limited.
    Allow,
    /// Always denied.
    Deny,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Networks to allow and to deny. Of those that an address is in, the smallest counts: so
/// one host of an allowed network can be denied, and the reverse.
///
/// Kept as disjoint ranges in order, 48 bytes each and two for a network at most; a search
/// halves them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    v4: Box<[Range]>,
    v6: Box<[Range]>,
    allowed: usize,
    denied: usize,
}

/// A network in both lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is both allowed and denied")]
pub struct Contradiction(pub IpNet);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u128,
    last: u128,
    listed: Listed,
}

impl Networks {
    /// A set of these networks, in any order, nested or not. Host bits do not count.
    ///
    /// # Errors
    /// If one and the same network is to be both allowed and denied.
    pub fn new(networks: impl IntoIterator<Item = (IpNet, Listed)>) -> Result<Self, Contradiction> {
        let mut networks: Vec<_> = networks
            .into_iter()
            .map(|(network, listed)| (network.trunc(), listed))
            .collect();
        // By the first address, and a network before those inside it.
        networks.sort_by_key(|(network, _)| (first(*network), network.prefix_len()));
        networks.dedup();
        let contradiction = networks.iter().zip(networks.iter().skip(1));
        for ((network, _), (next, _)) in contradiction {
            // Else it would not stand here twice.
            if network == next {
                return Err(Contradiction(*network));
            }
        }
        let of = |v4: bool| {
            let networks = networks.iter();
            flatten(networks.filter(|(network, _)| matches!(network, IpNet::V4(_)) == v4))
        };
        let allowed = networks
            .iter()
            .filter(|(_, listed)| *listed == Listed::Allow);
        let allowed = allowed.count();
        Ok(Self {
            v4: of(true),
            v6: of(false),
            allowed,
            denied: networks.len() - allowed,
        })
    }

    /// How many networks are allowed, and how many denied.
    pub fn counts(&self) -> (usize, usize) {
        (self.allowed, self.denied)
    }

    /// Whether there is no network at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// What is said about this address, which has to be canonical: IPv4 in IPv6 is unknown
    /// here.
    pub fn find(&self, address: IpAddr) -> Option<Listed> {
        let (ranges, address) = match address {
            IpAddr::V4(v4) => (&self.v4, v4.to_bits().into()),
            IpAddr::V6(v6) => (&self.v6, v6.to_bits()),
        };
        let next = ranges.partition_point(|range| range.first <= address);
        let range = ranges.get(next.checked_sub(1)?)?;
        (address <= range.last).then_some(range.listed)
    }
}

fn first(network: IpNet) -> (bool, u128) {
    match network {
        IpNet::V4(v4) => (true, v4.network().to_bits().into()),
        IpNet::V6(v6) => (false, v6.network().to_bits()),
    }
}

fn range((network, listed): &(IpNet, Listed)) -> Range {
    let (_, first) = first(*network);
    let last = match network {
        IpNet::V4(v4) => v4.broadcast().to_bits().into(),
        IpNet::V6(v6) => v6.broadcast().to_bits(),
    };
    Range {
        first,
        last,
        listed: *listed,
    }
}

/// Disjoint ranges out of networks of one family, sorted so that a network stands before
/// those inside it.
fn flatten<'a>(networks: impl Iterator<Item = &'a (IpNet, Listed)>) -> Box<[Range]> {
    let mut flat = Flat::default();
    // The networks around where we are, the innermost last.
    let mut around: Vec<Range> = Vec::new();
    for network in networks.map(range) {
        while let Some(outer) = around.pop_if(|outer| outer.last < network.first) {
            flat.fill(outer);
        }
        if let (Some(outer), Some(before)) = (around.last(), network.first.checked_sub(1)) {
            flat.fill(Range {
                last: before,
                ..*outer
            });
        }
        around.push(network);
    }
    while let Some(outer) = around.pop() {
        flat.fill(outer);
    }
    flat.ranges.into()
}

#[derive(Default)]
struct Flat {
    ranges: Vec<Range>,
}

impl Flat {
    /// Adds what is not taken yet of a range that ends after all others.
    fn fill(&mut self, mut range: Range) {
        if let Some(taken) = self.ranges.last_mut() {
            let Some(free) = taken.last.checked_add(1) else {
                return;
            };
            range.first = range.first.max(free);
            if range.first > range.last {
                return;
            }
            if range.first == free && range.listed == taken.listed {
                taken.last = range.last;
                return;
            }
        }
        self.ranges.push(range);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn networks(allow: &[&str], deny: &[&str]) -> Networks {
        let of = |list: &[&str], listed| -> Vec<_> {
            let parse = |text: &&str| (text.parse::<IpNet>().unwrap(), listed);
            list.iter().map(parse).collect()
        };
        let all = [of(allow, Listed::Allow), of(deny, Listed::Deny)].concat();
        Networks::new(all).unwrap()
    }

    #[track_caller]
    fn check(networks: &Networks, cases: &[(&str, Option<Listed>)]) {
        for (address, listed) in cases {
            assert_eq!(
                networks.find(address.parse().unwrap()),
                *listed,
                "{address}"
            );
        }
    }

    #[test]
    fn the_smallest_network_counts() {
        use Listed::{Allow, Deny};
        let networks = networks(
            &["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"],
            &["10.1.0.0/16", "2001:db8:1::/48", "192.0.2.0/24"],
        );
        check(
            &networks,
            &[
                ("9.255.255.255", None),
                ("10.0.0.0", Some(Allow)),
                ("10.0.255.255", Some(Allow)),
                ("10.1.0.0", Some(Deny)),
                ("10.1.2.2", Some(Deny)),
                ("10.1.2.3", Some(Allow)),
                ("10.1.2.4", Some(Deny)),
                ("10.1.255.255", Some(Deny)),
                ("10.2.0.0", Some(Allow)),
                ("10.255.255.255", Some(Allow)),
                ("11.0.0.0", None),
                ("192.0.2.0", Some(Deny)),
                ("192.0.3.0", None),
                ("2001:db8::1", Some(Allow)),
                ("2001:db8:1:ffff::", Some(Deny)),
                ("2001:db8:2::", Some(Allow)),
                ("2001:db9::", None),
            ],
        );
    }

    #[test]
    fn everything_and_the_last_address() {
        use Listed::{Allow, Deny};
        let networks = networks(&["255.255.255.255/32"], &["0.0.0.0/0", "::/0", "ffff::/16"]);
        check(
            &networks,
            &[
                ("0.0.0.0", Some(Deny)),
                ("255.255.255.254", Some(Deny)),
                ("255.255.255.255", Some(Allow)),
                ("::", Some(Deny)),
                ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Deny)),
            ],
        );
    }

    #[test]
    fn an_empty_set_knows_nobody() {
        let empty = networks(&[], &[]);
        assert!(empty.is_empty());
        check(&empty, &[("0.0.0.0", None), ("::", None)]);
        assert!(!networks(&["::1/128"], &[]).is_empty());
    }

    #[test]
    fn neighbours_become_one_range() {
        let networks = networks(&["10.0.0.0/9", "10.128.0.0/9", "10.0.0.0/8"], &[]);
        assert_eq!(networks.v4.len(), 1);
    }

    #[test]
    fn one_network_cannot_be_both() {
        let network: IpNet = "10.0.0.1/8".parse().unwrap();
        let both = [(network, Listed::Allow), (network, Listed::Deny)];
        assert_eq!(Networks::new(both), Err(Contradiction(network.trunc())));
        let twice = [(network, Listed::Allow), (network, Listed::Allow)];
        assert!(Networks::new(twice).is_ok());
    }

    /// Networks close together, so that they nest, and addresses close to their edges.
    fn some_networks() -> impl Strategy<Value = Vec<(IpNet, Listed)>> {
        let v4 = (0_u32..1 << 6, 24_u8..=32).prop_map(|(low, prefix)| {
            let address = Ipv4Addr::from_bits(low | (0xffff_ff00 * (low & 1)));
            IpNet::V4(Ipv4Net::new_assert(address, prefix))
        });
        let v6 = (0_u128..1 << 6, 0_u8..=128).prop_map(|(low, prefix)| {
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(low), prefix))
        });
        let listed = prop_oneof![Just(Listed::Allow), Just(Listed::Deny)];
        vec((prop_oneof![v4, v6], listed), 0..24)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_through_all_finds(networks in some_networks()) {
            let Ok(set) = Networks::new(networks.clone()) else {
                let mut seen = std::collections::HashMap::new();
                let contradicts = networks.iter().any(|(network, listed)| {
                    seen.insert(network.trunc(), *listed).is_some_and(|other| other != *listed)
                });
                prop_assert!(contradicts);
                return Ok(());
            };
            let ends = networks.iter().flat_map(|(network, _)| match network {
                IpNet::V4(v4) => {
                    let ends = [v4.network().to_bits(), v4.broadcast().to_bits()];
                    let near = ends.map(|end| [end, end.wrapping_add(1), end.wrapping_sub(1)]);
                    near.concat().into_iter().map(|bits| Ipv4Addr::from_bits(bits).into()).collect::<Vec<IpAddr>>()
                }
                IpNet::V6(v6) => {
                    let ends = [v6.network().to_bits(), v6.broadcast().to_bits()];
                    let near = ends.map(|end| [end, end.wrapping_add(1), end.wrapping_sub(1)]);
                    near.concat().into_iter().map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
                }
            });
            for address in ends {
                let around = networks.iter().filter(|(network, _)| network.contains(&address));
                let smallest = around.max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(set.find(address), smallest.map(|(_, listed)| *listed), "{}", address);
            }
            for ranges in [&set.v4, &set.v6] {
                for pair in ranges.windows(2) {
                    prop_assert!(pair[0].last < pair[1].first);
                }
            }
        }
    }
}
