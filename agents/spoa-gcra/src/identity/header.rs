//! Forwarded (RFC 7239) and X-Forwarded-For, read from the right; and the many ways to
//! write an address in them.
//!
//! Reading from the right matters for quotes as well: what a client sends stands on the
//! left, and a quote left open there must not swallow what a proxy appended.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A header that names the hops of a request, the nearest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header<'a> {
    /// One address: HAProxy has done the parsing.
    Address(IpAddr),
    /// The header's text: a comma-separated list, each entry an address (X-Forwarded-For,
    /// or only the `for` value of a Forwarded header) or the parameters of RFC 7239,
    /// `for=192.0.2.7;proto=https`.
    Text(&'a [u8]),
}

/// What one entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// The hop's address, canonical.
    Address(IpAddr),
    /// Something else: `unknown`, an obfuscated name, two addresses, a syntax error.
    Hidden,
    /// Nothing about any hop: no `for` parameter, or blank.
    Nobody,
}

impl<'a> Header<'a> {
    /// The entries, the nearest hop first.
    pub(super) fn nearest_first(self) -> impl Iterator<Item = Hop> + use<'a> {
        let (address, list) = match self {
            Header::Address(address) => (Some(Hop::Address(address.to_canonical())), None),
            Header::Text(text) => (None, Some(FromRight::new(text, b','))),
        };
        let entries = list.into_iter().flatten();
        address.into_iter().chain(entries.map(read_entry))
    }
}

fn read_entry(entry: Option<&[u8]>) -> Hop {
    let Some(entry) = entry else {
        return Hop::Hidden;
    };
    let mut node = None;
    for parameter in FromRight::new(entry, b';') {
        let Some(parameter) = parameter else {
            return Hop::Hidden;
        };
        let mut halves = parameter.splitn(2, |&byte| byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = match halves.next() {
            Some(value) if name.eq_ignore_ascii_case(b"for") => value,
            None if !name.is_empty() => name, // not a parameter: the bare address
            _ => continue,
        };
        if node.replace(value).is_some() {
            return Hop::Hidden;
        }
    }
    match node {
        None => Hop::Nobody,
        Some(node) => address(node).map_or(Hop::Hidden, Hop::Address),
    }
}

/// An address as headers write it, made canonical: with or without quotes, brackets around
/// IPv6, a port and a zone: `192.0.2.7`, `192.0.2.7:4711`, `"[2001:db8::1]:4711"`,
/// `fe80::1%eth0`, `::ffff:192.0.2.7` (which is 192.0.2.7).
///
/// `None` if the text is anything else. Quoted pairs (`"192.0.2.\7"`) are: no proxy has a
/// reason to write them in an address.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = match text.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"")?,
        None => text,
    };
    let text = str::from_utf8(text).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']')?;
        let port = after.strip_prefix(':');
        return (after.is_empty() || port.is_some_and(is_port)).then(|| ipv6(host))?;
    }
    if let Some(host) = ipv6(text) {
        return Some(host); // without brackets there is no telling a port from a group
    }
    let host = match text.split_once(':') {
        Some((host, port)) => is_port(port).then_some(host)?,
        None => text,
    };
    host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn ipv6(text: &str) -> Option<IpAddr> {
    let host = match text.split_once('%') {
        Some((host, zone)) => (!zone.is_empty()).then_some(host)?,
        None => text,
    };
    let host = host.parse::<Ipv6Addr>().ok()?;
    Some(host.to_canonical())
}

/// RFC 7239's node-port: a number, or `_` and an obfuscated name.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The parts between separators that stand outside quoted strings, from the right. A part
/// is `None`, and the last, if a quoted string in it has no beginning.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> FromRight<'a> {
    fn new(text: &'a [u8], separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
        }
    }
}

impl<'a> Iterator for FromRight<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        let mut quoted = false;
        for (at, &byte) in text.iter().enumerate().rev() {
            if byte == b'"' && !is_escaped(text, at) {
                quoted = !quoted;
            } else if byte == self.separator && !quoted {
                self.rest = text.get(..at);
                return Some(text.get(at + 1..));
            }
        }
        Some((!quoted).then_some(text))
    }
}

/// Whether an odd number of backslashes stands before `at`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.iter().take(at).rev();
    before.take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hops(text: &str) -> Vec<Hop> {
        Header::Text(text.as_bytes()).nearest_first().collect()
    }

    fn ip(text: &str) -> Hop {
        Hop::Address(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            (" \t192.0.2.7 ", "192.0.2.7"),
            ("\"192.0.2.7\"", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("\"192.0.2.7:4711\"", "192.0.2.7"),
            ("192.0.2.7:_gazonk-1", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]:_x", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:c000:207]:80", "192.0.2.7"),
            ("::", "::"),
        ] {
            assert_eq!(
                address(text.as_bytes()),
                Some(expected.parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        for text in [
            "",
            " ",
            "\"",
            "\"\"",
            "unknown",
            "_hidden",
            "localhost",
            "example.org",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.07",
            "0x7f.1",
            "3221225991",
            "192.0.2.7/32",
            "192.0.2.7:",
            "192.0.2.7:port",
            "192.0.2.7:123456",
            "192.0.2.7:_",
            "192.0.2.7:_ü",
            "192.0.2.7 192.0.2.8",
            "192.0.2.7%eth0",
            "[192.0.2.7]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]4711",
            "[2001:db8::1]:",
            "[]",
            "[]:80",
            "fe80::1%",
            "[fe80::1%]",
            "2001:db8::1::2",
            "\"192.0.2.7",
            "192.0.2.7\"",
            "\"192.0.2.\\7\"",
            "'192.0.2.7'",
            "for=192.0.2.7",
            "\u{663}.0.2.7",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        assert_eq!(address(b"192.0.2.7\xff"), None);
        assert_eq!(address(b"192.0.2.7\0"), None);
    }

    #[test]
    fn a_list_is_read_from_the_right() {
        assert_eq!(
            hops("192.0.2.1,2001:db8::1 ,  192.0.2.3:80"),
            [ip("192.0.2.3"), ip("2001:db8::1"), ip("192.0.2.1")]
        );
        assert_eq!(hops("192.0.2.1"), [ip("192.0.2.1")]);
        assert_eq!(hops("192.0.2.1, unknown"), [Hop::Hidden, ip("192.0.2.1")]);
        assert_eq!(
            hops("192.0.2.1,,"),
            [Hop::Nobody, Hop::Nobody, ip("192.0.2.1")]
        );
        assert_eq!(hops(""), [Hop::Nobody]);
    }

    #[test]
    fn forwarded_parameters_come_in_any_order_case_and_quoting() {
        assert_eq!(
            hops(
                "for=192.0.2.60; proto=http; by=203.0.113.43, \
                 Proto=https;FOR=\"[2001:db8:cafe::17]:4711\";host=\"a,b;for=192.0.2.9\""
            ),
            [ip("2001:db8:cafe::17"), ip("192.0.2.60")]
        );
        assert_eq!(
            hops("For=\"192.0.2.43\", for=198.51.100.17;")[0],
            ip("198.51.100.17")
        );
        assert_eq!(hops("for = 192.0.2.1"), [ip("192.0.2.1")]);
        assert_eq!(hops("host=\"x\\\\\";for=192.0.2.1"), [ip("192.0.2.1")]);
        assert_eq!(
            hops("for=192.0.2.1;host=\"\\\", for=192.0.2.9\""),
            [ip("192.0.2.1")]
        );
        // Only the value, as a converter cuts it out.
        assert_eq!(hops("\"[2001:db8::1]:80\""), [ip("2001:db8::1")]);
    }

    #[test]
    fn an_entry_that_tells_no_address_or_two_hides_its_hop() {
        for text in [
            "for=unknown",
            "for=_SEVKISEK",
            "for=\"_gazonk\"",
            "for=",
            "for=\"\"",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;FOR=192.0.2.1",
            "for=192.0.2.1;192.0.2.2",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\\\"",
            "for=192.0.2.1=2",
            "proto=\"http;for=192.0.2.1",
        ] {
            assert_eq!(hops(text), [Hop::Hidden], "{text}");
        }
        for text in [
            "proto=https",
            "by=192.0.2.1;host=x",
            ";",
            " ",
            "=",
            "=192.0.2.1",
        ] {
            assert_eq!(hops(text), [Hop::Nobody], "{text}");
        }
    }

    #[test]
    fn a_quote_left_open_on_the_left_swallows_nothing() {
        assert_eq!(
            hops("for=\"1.1.1.1, for=192.0.2.1"),
            [ip("192.0.2.1"), Hop::Hidden]
        );
        assert_eq!(
            hops("x=\", for=\"[2001:db8::1]\";proto=\"https\"")[0],
            ip("2001:db8::1")
        );
        assert_eq!(hops("\\, for=\"192.0.2.1\"")[0], ip("192.0.2.1"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(address: IpAddr, port in proptest::option::of(any::<u16>())) {
            let text = match (address, port) {
                (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
                (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
                (address, None) => address.to_string(),
            };
            let expected = Hop::Address(address.to_canonical());
            prop_assert_eq!(hops(&text), [expected]);
            prop_assert_eq!(hops(&format!("by=x;for=\"{text}\";proto=http")), [expected]);
        }

        /// Any bytes on the left, whatever quotes they open.
        #[test]
        fn the_left_changes_nothing_on_the_right(
            left in "[ -~]{0,40}|[\"\\\\,;=for1.:\\[\\]]{0,40}", quoted: bool,
        ) {
            let right = if quoted { "for=\"192.0.2.1:80\";host=\"a\\\",b\"" } else { "192.0.2.1" };
            let text = format!("{left},{right}, 192.0.2.2");
            prop_assert_eq!(&hops(&text)[..2], &[ip("192.0.2.2"), ip("192.0.2.1")]);
        }

        #[test]
        fn no_bytes_are_too_strange(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[\"\\\\,;=for12.:%_\\[\\] ]{0,200}".prop_map(String::into_bytes),
            ],
        ) {
            let entries = Header::Text(&text).nearest_first().count();
            prop_assert!(entries >= 1 && entries <= text.len() + 1);
            address(&text);
        }
    }
}
