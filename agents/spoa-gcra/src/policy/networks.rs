//! Networks whose clients are let through or turned away unasked.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use network_map::{NetworkMap, canonical};

/// What a list says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    listed: NetworkMap<Option<Listed>>,
    allowed: usize,
    denied: usize,
}

/// A network in both lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is both allowed and denied")]
pub struct Contradiction(pub IpNet);

impl Networks {
    /// A set of these networks, in any order, nested or not. They are taken as [`canonical`].
    ///
    /// # Errors
    /// If one and the same network is to be both allowed and denied.
    pub fn new(networks: impl IntoIterator<Item = (IpNet, Listed)>) -> Result<Self, Contradiction> {
        let mut all = HashMap::new();
        for (network, listed) in networks {
            let network = canonical(network);
            if *all.entry(network).or_insert(listed) != listed {
                return Err(Contradiction(network));
            }
        }
        let allowed = all.values().filter(|listed| **listed == Listed::Allow);
        let allowed = allowed.count();
        let denied = all.len() - allowed;
        let listed = all
            .into_iter()
            .map(|(network, listed)| (network, Some(listed)));
        Ok(Self {
            listed: listed.collect(),
            allowed,
            denied,
        })
    }

    /// How many networks are allowed, and how many denied.
    pub fn counts(&self) -> (usize, usize) {
        (self.allowed, self.denied)
    }

    /// Whether there is no network at all.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// What is said about this address.
    pub fn find(&self, address: IpAddr) -> Option<Listed> {
        self.listed.get(address)
    }
}

#[cfg(test)]
mod tests {
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
    fn one_network_cannot_be_both() {
        let network: IpNet = "10.0.0.1/8".parse().unwrap();
        let both = [(network, Listed::Allow), (network, Listed::Deny)];
        assert_eq!(Networks::new(both), Err(Contradiction(network.trunc())));
        let mapped = "::ffff:10.0.0.1/104".parse().unwrap();
        let both = [(network, Listed::Allow), (mapped, Listed::Deny)];
        assert_eq!(Networks::new(both), Err(Contradiction(network.trunc())));
        let twice = [(network, Listed::Allow), (network, Listed::Allow)];
        assert!(Networks::new(twice).is_ok());
    }
}
