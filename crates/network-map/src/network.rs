//! Networks as people write them, and as they compare.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Reads an address, which is the network of itself, or a CIDR network. It is [`canonical`].
/// `None`: the text is neither.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().ok()?,
    };
    Some(canonical(network))
}

/// The form in which equal networks are equal values: without host bits, and IPv4 within IPv6 is
/// IPv4. So `::ffff:192.0.2.7/120` is 192.0.2.0/24.
///
/// An address that is looked for in it has to be [canonical](IpAddr::to_canonical), too.
pub fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_one_form() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("2001:db8::7/32", "2001:db8::/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7/96", "0.0.0.0/0"),
            // Of more than IPv4.
            ("::ffff:192.0.2.7/95", "::fffe:0:0/95"),
            ("::192.0.2.7/120", "::c000:200/120"),
        ] {
            let network = parse_network(text).unwrap();
            assert_eq!(network.to_string(), expected, "{text}");
            assert_eq!(canonical(network), network);
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", " 192.0.2.7", "192.0.2", "192.0.2.0/33", "::/129", "all"] {
            assert_eq!(parse_network(text), None, "{text:?}");
        }
    }
}
