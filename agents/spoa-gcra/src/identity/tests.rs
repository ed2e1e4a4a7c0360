//! Who is taken for the client, from every kind of evidence.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The agent's defaults.
fn identity() -> Identity {
    Identity::new(TrustedProxies::private(), 64)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn from(source: &str) -> Evidence<'_> {
    Evidence {
        source: Some(ip(source)),
        ..Evidence::default()
    }
}

fn text(header: &str) -> Option<Header<'_>> {
    Some(Header::Text(header.as_bytes()))
}

#[track_caller]
fn assert_client(evidence: Evidence<'_>, expected: &str) {
    let client = identity().client(&evidence).unwrap();
    assert_eq!(client.to_string(), expected, "{evidence:?}");
}

#[test]
fn without_a_source_there_is_no_client() {
    let evidence = Evidence {
        forwarded: text("for=192.0.2.1"),
        x_forwarded_for: text("192.0.2.1"),
        source: None,
    };
    assert_eq!(identity().client(&evidence), None);
    let gullible = Identity::new(TrustedProxies::all(), 64);
    assert_eq!(gullible.client(&evidence), None);
}

#[test]
fn headers_from_a_source_that_is_not_trusted_are_ignored() {
    let forwarded = text("for=192.0.2.1");
    let x_forwarded_for = text("192.0.2.2");
    let evidence = Evidence {
        forwarded,
        x_forwarded_for,
        ..from("203.0.113.1")
    };
    assert_client(evidence, "203.0.113.1");
    assert_client(from("203.0.113.1"), "203.0.113.1");
}

#[test]
fn from_a_trusted_source_forwarded_counts_then_x_forwarded_for_then_the_source() {
    let forwarded = text("for=192.0.2.1;proto=https");
    let x_forwarded_for = text("192.0.2.2");
    let both = Evidence {
        forwarded,
        x_forwarded_for,
        ..from("10.0.0.1")
    };
    assert_client(both, "192.0.2.1");
    let forwarded = None;
    assert_client(Evidence { forwarded, ..both }, "192.0.2.2");
    assert_client(from("10.0.0.1"), "10.0.0.1");
    // The source may be IPv4 in IPv6 clothes.
    let source = Some(ip("::ffff:10.0.0.1"));
    assert_client(Evidence { source, ..both }, "192.0.2.1");
}

#[test]
fn a_header_that_is_about_nobody_counts_as_absent() {
    for about_nobody in [
        "",
        " ",
        "proto=https",
        "for=192.0.2.9, proto=https;by=10.0.0.1",
    ] {
        let evidence = Evidence {
            forwarded: text(about_nobody),
            x_forwarded_for: text("192.0.2.2"),
            ..from("10.0.0.1")
        };
        assert_client(evidence, "192.0.2.2");
    }
    let x_forwarded_for = text("");
    assert_client(
        Evidence {
            x_forwarded_for,
            ..from("10.0.0.1")
        },
        "10.0.0.1",
    );
}

#[test]
fn a_proxy_that_hides_its_client_is_limited_itself() {
    for hidden in [
        "for=unknown",
        "for=_x",
        "for=\"192.0.2.9",
        "for=192.0.2.9, for=_x",
    ] {
        let evidence = Evidence {
            forwarded: text(hidden),
            x_forwarded_for: text("192.0.2.2"),
            ..from("10.0.0.1")
        };
        assert_client(evidence, "10.0.0.1");
    }
}

#[test]
fn the_chain_is_walked_from_the_right_past_trusted_hops() {
    for (chain, client) in [
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7, 10.0.0.3, 192.168.1.1", "192.0.2.7"),
        ("10.9.9.9, 10.0.0.3", "10.9.9.9"),
        ("192.0.2.7, unknown, 10.0.0.3", "10.0.0.3"),
        ("192.0.2.7,, 10.0.0.3", "10.0.0.3"),
        ("192.0.2.7, 10.0.0.300", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6, fd00::1", "2001:db8:1:2::"),
        ("192.0.2.7:4711, [fd00::1]:80", "192.0.2.7"),
        ("::ffff:192.0.2.7, ::ffff:10.0.0.3", "192.0.2.7"),
    ] {
        let x_forwarded_for = text(chain);
        assert_client(
            Evidence {
                x_forwarded_for,
                ..from("10.0.0.1")
            },
            client,
        );
    }
    let forwarded = text("for=203.0.113.9, for=192.0.2.7;proto=http, by=x;for=\"[fd00::1]:80\"");
    assert_client(
        Evidence {
            forwarded,
            ..from("10.0.0.1")
        },
        "192.0.2.7",
    );
}

#[test]
fn an_address_in_place_of_a_header_is_a_chain_of_one() {
    let x_forwarded_for = Some(Header::Address(ip("::ffff:192.0.2.7")));
    assert_client(
        Evidence {
            x_forwarded_for,
            ..from("10.0.0.1")
        },
        "192.0.2.7",
    );
    let forwarded = Some(Header::Address(ip("10.9.9.9")));
    let both = Evidence {
        forwarded,
        x_forwarded_for,
        ..from("10.0.0.1")
    };
    assert_client(both, "10.9.9.9");
}

#[test]
fn who_trusts_all_believes_the_left_most_hop() {
    let identity = Identity::new(TrustedProxies::all(), 64);
    let evidence = Evidence {
        x_forwarded_for: text("192.0.2.7, 203.0.113.9, 198.51.100.1"),
        ..from("203.0.113.1")
    };
    assert_eq!(identity.client(&evidence), Some(Client(ip("192.0.2.7"))));
    let identity = Identity::new(TrustedProxies::none(), 64);
    assert_eq!(identity.client(&evidence), Some(Client(ip("203.0.113.1"))));
}

#[test]
fn a_chain_is_walked_for_sixty_four_hops_at_most() {
    let chain: Vec<String> = (1..=100).map(|n| format!("10.0.1.{n}")).collect();
    let chain = chain.join(",");
    let x_forwarded_for = text(&chain);
    assert_client(
        Evidence {
            x_forwarded_for,
            ..from("10.0.0.1")
        },
        "10.0.1.37",
    );
}

#[test]
fn ipv6_clients_are_cut_to_their_prefix_and_ipv4_ones_are_not() {
    let client = |prefix, source| {
        let client = Identity::new(TrustedProxies::none(), prefix).client(&from(source));
        client.unwrap().to_string()
    };
    let v6 = "2001:db8:1234:5678:9abc:def0:1234:5679";
    assert_eq!(client(64, v6), "2001:db8:1234:5678::");
    assert_eq!(client(56, v6), "2001:db8:1234:5600::");
    assert_eq!(client(1, v6), "::");
    assert_eq!(client(1, "ffff::1"), "8000::");
    assert_eq!(client(127, v6), "2001:db8:1234:5678:9abc:def0:1234:5678");
    for whole in [128, 129, 255] {
        assert_eq!(client(whole, v6), v6);
    }
    assert_eq!(client(0, v6), "::");
    for prefix in [0, 64, 128] {
        assert_eq!(client(prefix, "192.0.2.7"), "192.0.2.7");
        assert_eq!(client(prefix, "::ffff:192.0.2.7"), "192.0.2.7");
    }
}

/// Addresses that the defaults do not trust.
fn outsider() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_filter("trusted", |address| {
        !TrustedProxies::private().contains(address.to_canonical())
    })
}

/// A chain's right part: one client, then trusted proxies, each as a Forwarded entry or bare.
fn right_part(client: IpAddr, proxies: &[u8], forwarded: bool) -> String {
    let proxies = proxies.iter().map(|n| ip(&format!("10.0.0.{n}")));
    let entry = |address: IpAddr| match (address, forwarded) {
        (IpAddr::V6(v6), true) => format!("for=\"[{v6}]:1\";host=\"a\\\",b\""),
        (IpAddr::V4(v4), true) => format!("proto=http;for={v4}"),
        (address, false) => address.to_string(),
    };
    let entries: Vec<String> = std::iter::once(client).chain(proxies).map(entry).collect();
    entries.join(", ")
}

proptest! {
    #[test]
    fn a_forged_left_part_changes_nothing(
        client in outsider(),
        proxies in vec(any::<u8>(), 0..5),
        forged in prop_oneof![
            vec(any::<u8>(), 0..80),
            "[\"\\\\,;=for10.:\\[\\] ]{0,80}".prop_map(String::into_bytes),
        ],
        in_forwarded: bool,
    ) {
        let honest = right_part(client, &proxies, in_forwarded).into_bytes();
        let whole = [&forged, &b", "[..], &honest].concat();
        let find = |header| {
            let header = Some(Header::Text(header));
            let mut evidence = from("10.0.0.1");
            if in_forwarded {
                evidence.forwarded = header;
            } else {
                evidence.x_forwarded_for = header;
            }
            identity().client(&evidence)
        };
        let expected = identity().client(&Evidence { source: Some(client), ..Evidence::default() });
        prop_assert_eq!(find(&honest), expected);
        prop_assert_eq!(find(&whole), expected);
    }

    /// Whatever is sent, there is a client: the source, or an address that was told.
    #[test]
    fn any_bytes_give_a_client(
        forwarded in vec(any::<u8>(), 0..100),
        x_forwarded_for in "[\"\\\\,;=for10.:%_\\[\\] ]{0,100}",
        source: IpAddr,
        prefix: u8,
    ) {
        let evidence = Evidence {
            forwarded: Some(Header::Text(&forwarded)),
            x_forwarded_for: text(&x_forwarded_for),
            source: Some(source),
        };
        for trusted in [TrustedProxies::all(), TrustedProxies::private(), TrustedProxies::none()] {
            let client = Identity::new(trusted, prefix).client(&evidence).unwrap();
            prop_assert_eq!(client.0, client.0.to_canonical());
        }
    }
}
