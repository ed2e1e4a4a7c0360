//! The map against a search through all networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use allocation_counter::measure;
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn map(networks: &[(&str, u8)]) -> NetworkMap<u8> {
    let network = |(text, score): &(&str, u8)| (text.parse().unwrap(), *score);
    networks.iter().map(network).collect()
}

#[track_caller]
fn check(map: &NetworkMap<u8>, cases: &[(&str, u8)]) {
    for (address, score) in cases {
        assert_eq!(map.get(address.parse().unwrap()), *score, "{address}");
    }
}

#[test]
fn the_smallest_network_counts() {
    let map = map(&[
        ("10.0.0.0/8", 50),
        ("10.1.0.0/16", 100),
        ("10.1.2.3/32", 0),
        ("192.0.2.77/24", 20),
        ("2001:db8::/32", 50),
        ("2001:db8:1::/48", 100),
    ]);
    check(
        &map,
        &[
            ("0.0.0.0", 0),
            ("9.255.255.255", 0),
            ("10.0.0.0", 50),
            ("10.0.255.255", 50),
            ("10.1.0.0", 100),
            ("10.1.2.2", 100),
            ("10.1.2.3", 0),
            ("10.1.2.4", 100),
            ("10.1.255.255", 100),
            ("10.2.0.0", 50),
            ("10.255.255.255", 50),
            ("11.0.0.0", 0),
            ("192.0.2.0", 20),
            ("192.0.3.0", 0),
            ("255.255.255.255", 0),
            ("::", 0),
            ("2001:db8::1", 50),
            ("2001:db8:1:ffff::", 100),
            ("2001:db8:2::", 50),
            ("2001:db9::", 0),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0),
        ],
    );
}

#[test]
fn of_several_scores_the_highest_counts() {
    for order in [[20, 100, 50], [100, 50, 20], [50, 20, 100]] {
        let map = map(&order.map(|score| ("192.0.2.0/24", score)));
        check(&map, &[("192.0.2.1", 100)]);
    }
}

#[test]
fn ipv4_is_the_same_in_either_notation_and_apart_from_ipv6() {
    let mapped = map(&[("::ffff:192.0.2.0/120", 100)]);
    check(&mapped, &[("192.0.2.9", 100), ("::ffff:192.0.2.9", 100)]);
    let everything = map(&[("::/0", 70)]);
    check(
        &everything,
        &[
            ("::", 70),
            ("::fffe:ffff:ffff", 70),
            ("0.0.0.0", 0),
            ("255.255.255.255", 0),
            ("::1:0:0:0", 70),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 70),
        ],
    );
    let both = map(&[("::/0", 70), ("0.0.0.0/0", 30), ("127.0.0.1/32", 0)]);
    check(&both, &[("::1", 70), ("192.0.2.1", 30), ("127.0.0.1", 0)]);
}

#[test]
fn without_networks_every_score_is_0() {
    check(&map(&[]), &[("0.0.0.0", 0), ("::", 0), ("::1", 0)]);
}

#[test]
fn neighbours_of_one_score_are_one_range() {
    let split = map(&[("10.0.0.0/9", 5), ("10.128.0.0/9", 5), ("10.0.0.0/8", 5)]);
    assert_eq!(split.bytes(), map(&[("10.0.0.0/8", 5)]).bytes());
}

#[test]
fn a_map_of_any_size_is_shown_in_a_few_words() {
    let map = map(&[
        ("10.0.0.0/8", 50),
        ("10.1.0.0/16", 100),
        ("2001:db8::/32", 70),
    ]);
    let shown = format!("{map:?}");
    assert_eq!(shown, "NetworkMap { v4_ranges: 4, v6_ranges: 2, .. }");
}

#[test]
fn a_lookup_allocates_nothing() {
    let map: NetworkMap<u8> = (0..10_000_u32)
        .map(|i| {
            let address = Ipv4Addr::from_bits(i.wrapping_mul(2_654_435_761));
            (Ipv4Net::new(address, 28).unwrap().into(), 7)
        })
        .collect();
    let measured = measure(|| {
        let hits = (0..10_000_u32).filter(|i| {
            let address = Ipv4Addr::from_bits(i.wrapping_mul(2_654_435_761));
            map.get(address.into()) == 7
        });
        assert_eq!(hits.count(), 10_000);
        assert_eq!(map.get(Ipv6Addr::LOCALHOST.into()), 0);
    });
    assert_eq!(measured.count_total, 0);
}

#[test]
fn maps_are_equal_whatever_networks_made_them() {
    for (one, other) in [
        (
            &[("10.0.0.0/8", 1), ("10.2.0.0/16", 2), ("10.3.0.0/16", 2)][..],
            &[("10.0.0.0/8", 1), ("10.2.0.0/15", 2)][..],
        ),
        (&[("192.0.2.0/24", 0)], &[]),
        (&[("::fffe:0:0/95", 1)], &[("::fffe:0:0/96", 1)]),
    ] {
        assert_eq!(map(one), map(other));
    }
}

/// Networks close together, so that they nest, and their addresses close to their edges.
fn some_networks() -> impl Strategy<Value = Vec<(IpNet, u8)>> {
    let v4 = (0_u32..1 << 6, 24_u8..=32).prop_map(|(low, prefix)| {
        let address = Ipv4Addr::from_bits(low | (0xffff_ff00 * (low & 1)));
        IpNet::V4(Ipv4Net::new_assert(address, prefix))
    });
    let v6 = (0_u128..1 << 6, 0_u8..=128)
        .prop_map(|(low, prefix)| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(low), prefix)));
    vec((prop_oneof![v4, v6], 0_u8..4), 0..24)
}

/// The first and last addresses of all networks, and those beside them.
fn edges(networks: &[(IpNet, u8)]) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for (network, _) in networks {
        match network {
            IpNet::V4(v4) => {
                for end in [v4.network().to_bits(), v4.broadcast().to_bits()] {
                    let near = [end, end.wrapping_add(1), end.wrapping_sub(1)];
                    edges.extend(near.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
                }
            }
            IpNet::V6(v6) => {
                for end in [v6.network().to_bits(), v6.broadcast().to_bits()] {
                    let near = [end, end.wrapping_add(1), end.wrapping_sub(1)];
                    edges.extend(near.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
                }
            }
        }
    }
    // In the end they are IPv4.
    edges.retain(|address| address.is_ipv4() || address.to_canonical().is_ipv6());
    edges
}

/// Sixteen networks side by side at each end of IPv4, and those of IPv6 before `::ffff:0:0/96`,
/// which is IPv4.
fn atoms() -> Vec<IpNet> {
    let v4 = |bits| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), 32));
    let v6 = |block: u128| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(block << 32), 96));
    let ends = (0..16).chain(u32::MAX - 15..=u32::MAX).map(v4);
    ends.chain((0xfff0..0xffff).map(v6)).collect()
}

/// Networks that consist of some of these, and of no others but IPv4 within IPv6.
fn networks_of(atoms: Vec<IpNet>) -> impl Strategy<Value = Vec<(IpNet, u8)>> {
    let network = (select(atoms), 0_u8..=4).prop_map(|(atom, wider)| {
        let prefix = atom.prefix_len() - wider;
        IpNet::new_assert(atom.addr(), prefix)
    });
    vec((network, 0_u8..3), 0..16)
}

proptest! {
    #[test]
    fn it_finds_what_a_search_through_all_finds(networks in some_networks()) {
        let map: NetworkMap<u8> = networks.iter().copied().collect();
        for address in edges(&networks) {
            let around = networks.iter().filter(|(network, _)| network.contains(&address));
            let smallest = around.max_by_key(|(network, score)| (network.prefix_len(), *score));
            let score = smallest.map_or(0, |(_, score)| *score);
            prop_assert_eq!(map.get(address), score, "{}", address);
        }
        prop_assert!(map.v4.first.is_sorted_by(|one, next| one < next));
        prop_assert!(map.v6.first.is_sorted_by(|one, next| one < next));
    }
    #[test]
    fn maps_that_agree_on_every_address_are_equal(networks in networks_of(atoms())) {
        let map: NetworkMap<u8> = networks.into_iter().collect();
        let alike = atoms().into_iter().map(|atom| (atom, map.get(atom.addr())));
        prop_assert_eq!(alike.collect::<NetworkMap<u8>>(), map);
    }
}
