//! Which addresses are trusted to say on whose behalf they connect.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use network_map::parse_network;

/// A set of addresses: everyone, nobody, the private ranges, single addresses, blocks.
///
/// Its text form is the value of `SPOA_TRUSTED_PROXIES`: `private`, `none`, `all`, or a
/// comma-separated list of addresses, CIDR blocks and `private`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    all: bool,
    private: bool,
    nets: Box<[IpNet]>,
}

/// A text that is not a list of trusted proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProxies {
    /// An entry is neither a name nor an address nor a block.
    #[error("{0:?} is not an address, a CIDR block, private, none or all")]
    Entry(String),
    /// `none` or `all` beside other entries.
    #[error("{0} must stand alone")]
    NotAlone(&'static str),
    /// No entry at all.
    #[error("the list is empty (write none to trust nobody)")]
    Empty,
}

impl TrustedProxies {
    /// Nobody: the source is the client.
    pub fn none() -> Self {
        Self {
            all: false,
            private: false,
            nets: Box::default(),
        }
    }

    /// Everybody: the client is the left-most hop, which it can forge.
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::none()
        }
    }

    /// Loopback, RFC 1918, IPv6 unique local (fc00::/7) and link-local addresses.
    pub fn private() -> Self {
        Self {
            private: true,
            ..Self::none()
        }
    }

    /// Whether `address` is trusted. It has to be canonical: IPv4 in IPv6 is unknown here.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.all
            || (self.private && is_private(address))
            || self.nets.iter().any(|net| net.contains(&address))
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::private()
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

impl FromStr for TrustedProxies {
    type Err = BadProxies;

    fn from_str(text: &str) -> Result<Self, BadProxies> {
        let entries = || {
            text.split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
        };
        let alone = entries().count() == 1;
        let mut private = false;
        let mut nets = Vec::new();
        for entry in entries() {
            match entry {
                "none" if alone => return Ok(Self::none()),
                "all" if alone => return Ok(Self::all()),
                "none" => return Err(BadProxies::NotAlone("none")),
                "all" => return Err(BadProxies::NotAlone("all")),
                "private" => private = true,
                _ => match parse_network(entry) {
                    Some(network) => nets.push(network),
                    None => return Err(BadProxies::Entry(entry.to_owned())),
                },
            }
        }
        if !private && nets.is_empty() {
            return Err(BadProxies::Empty);
        }
        Ok(Self {
            all: false,
            private,
            nets: nets.into(),
        })
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all {
            return f.write_str("all");
        }
        if !self.private && self.nets.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        if self.private {
            f.write_str("private")?;
            separator = ",";
        }
        for net in &self.nets {
            write!(f, "{separator}{net}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(text: &str) -> TrustedProxies {
        text.parse().unwrap()
    }

    fn contains(text: &str, address: &str) -> bool {
        proxies(text).contains(address.parse().unwrap())
    }

    #[test]
    fn the_names_are_whom_they_say() {
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
        ] {
            assert!(contains("private", inside), "{inside}");
            assert!(contains("all", inside), "{inside}");
            assert!(!contains("none", inside), "{inside}");
        }
        for outside in [
            "0.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "100.64.0.1",
            "169.253.1.1",
            "192.0.2.1",
            "::",
            "::2",
            "fbff::1",
            "fec0::1",
            "2001:db8::1",
        ] {
            assert!(!contains("private", outside), "{outside}");
            assert!(contains("all", outside), "{outside}");
        }
        assert_eq!(TrustedProxies::default(), proxies("private"));
    }

    #[test]
    fn blocks_and_addresses_are_who_is_in_them() {
        let list = "203.0.113.0/24, 198.51.100.7,2001:db8:1::/48, 2001:db8:2::1,";
        for inside in [
            "203.0.113.0",
            "203.0.113.255",
            "198.51.100.7",
            "2001:db8:1:f::1",
            "2001:db8:2::1",
        ] {
            assert!(contains(list, inside), "{inside}");
        }
        for outside in [
            "203.0.114.0",
            "198.51.100.8",
            "2001:db8:2::2",
            "10.0.0.1",
            "::1",
        ] {
            assert!(!contains(list, outside), "{outside}");
        }
        assert!(contains("private,203.0.113.1", "10.0.0.1"));
        assert!(contains("private,203.0.113.1", "203.0.113.1"));
        assert!(
            contains("203.0.113.9/24", "203.0.113.1"),
            "bits beyond the prefix"
        );
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("::ffff:203.0.113.0/120", "203.0.113.9"));
        assert!(contains("::ffff:203.0.113.9", "203.0.113.9"));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "privat",
            "Private",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "2001:db8::/129",
            "example.org",
            "10.0.0.0/8 192.168.0.0/16",
            "10.0.0.0-10.0.0.9",
            "*",
            "10.0.0.0/-1",
        ] {
            assert_eq!(
                bad.parse::<TrustedProxies>(),
                Err(BadProxies::Entry(bad.to_owned()))
            );
        }
        for empty in ["", " ", ",", " , "] {
            assert_eq!(empty.parse::<TrustedProxies>(), Err(BadProxies::Empty));
        }
        for (mixed, name) in [("none,10.0.0.1", "none"), ("private, all", "all")] {
            assert_eq!(
                mixed.parse::<TrustedProxies>(),
                Err(BadProxies::NotAlone(name))
            );
        }
    }

    #[test]
    fn the_text_form_is_read_back() {
        for text in [
            "all",
            "none",
            "private",
            "private,203.0.113.0/24,2001:db8::1/128",
        ] {
            assert_eq!(proxies(text).to_string(), text);
        }
        assert_eq!(
            proxies("::ffff:10.1.2.3/104, private").to_string(),
            "private,10.0.0.0/8"
        );
    }
}
