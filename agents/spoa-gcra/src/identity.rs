//! Whose request it is: the client's address, from what HAProxy says about the connection
//! and the headers. Pure, and without allocation.
//!
//! A header is a claim. It is believed only as far as a trusted proxy vouches for it: if
//! the connection comes from a trusted proxy, the right-most entry of its header is what
//! that proxy saw; if that is a trusted proxy too, the next entry to the left is what *it*
//! saw, and so on. The first address that is not a trusted proxy is the client; what
//! stands to the left of it is whatever the client cared to send.
//!
//! ```text
//! X-Forwarded-For: 203.0.113.9, 192.0.2.7, 10.0.0.3     source 10.0.0.2
//!                  forged       client     trusted             trusted
//!                               ◀───────── walked from the right ──────
//! ```
//!
//! The walk also ends at an entry that is not an address (`unknown`, `_hidden`, no `for`,
//! anything malformed): the client is then the last hop that was told, or the source. If
//! every hop is trusted, the left-most one walked is the client.
//!
//! A trusted proxy must write the header it is asked for: one that passes on the client's
//! own `Forwarded` beside an `X-Forwarded-For` of its making lets the client choose its
//! name, because `Forwarded` comes first. Send the agent only the header that your
//! proxies write (drop `ip_fwd` or `ip_xff` from the message's arguments), or have them
//! delete the other.

mod header;
mod proxies;

use std::net::{IpAddr, Ipv6Addr};

use header::Hop;
pub use header::{Header, address};
pub use proxies::{BadProxies, TrustedProxies};

use crate::store::Client;

/// Hops that are walked at most. No real chain is as long; a longer one ends here.
pub const MAX_HOPS: usize = 64;

/// What a message says about where the request came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// `ip_fwd`: RFC 7239's Forwarded.
    pub forwarded: Option<Header<'a>>,
    /// `ip_xff`: X-Forwarded-For.
    pub x_forwarded_for: Option<Header<'a>>,
    /// `ip_src`: the other end of the connection that HAProxy accepted.
    pub source: Option<IpAddr>,
}

/// The rule that finds a client.
#[derive(Debug, Clone)]
pub struct Identity {
    trusted: TrustedProxies,
    ipv6_mask: u128,
}

impl Identity {
    /// Believes `trusted`, and takes all addresses of one IPv6 prefix of `ipv6_prefix` bits
    /// (0 to 128; more is 128) for one client, since one subscriber has a whole prefix.
    pub fn new(trusted: TrustedProxies, ipv6_prefix: u8) -> Self {
        let rest = 128_u32.saturating_sub(ipv6_prefix.into());
        Self {
            trusted,
            ipv6_mask: u128::MAX.checked_shl(rest).unwrap_or(0),
        }
    }

    /// The client: [`address`](Self::address) and those that [`group`](Self::group) puts
    /// beside it. `None` without a source.
    pub fn client(&self, evidence: &Evidence<'_>) -> Option<Client> {
        Some(self.group(self.address(evidence)?))
    }

    /// The client's own address. `None` without a source: nobody vouches for the headers
    /// then.
    ///
    /// From a trusted source, the first header counts whose right-most entry is about
    /// anybody, Forwarded before X-Forwarded-For. IPv4 addresses in IPv6 clothes
    /// (`::ffff:192.0.2.7`) are IPv4.
    pub fn address(&self, evidence: &Evidence<'_>) -> Option<IpAddr> {
        let source = evidence.source?.to_canonical();
        if !self.trusted.contains(source) {
            return Some(source);
        }
        let mut headers = [evidence.forwarded, evidence.x_forwarded_for]
            .into_iter()
            .flatten();
        let told = headers.find_map(|header| self.walk(header, source));
        Some(told.unwrap_or(source))
    }

    /// All that is limited as one with this address.
    pub fn group(&self, address: IpAddr) -> Client {
        Client(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & self.ipv6_mask).into(),
        })
    }

    /// The first hop from the right that is not trusted, starting from a trusted source.
    /// `None` if the right-most entry, which the source wrote, is about nobody: the header
    /// then serves another purpose (`proto=https` alone).
    fn walk(&self, header: Header<'_>, source: IpAddr) -> Option<IpAddr> {
        let mut last = None;
        for hop in header.nearest_first().take(MAX_HOPS) {
            let address = match hop {
                Hop::Address(address) => address,
                Hop::Nobody if last.is_none() => return None,
                Hop::Nobody | Hop::Hidden => break,
            };
            last = Some(address);
            if !self.trusted.contains(address) {
                break;
            }
        }
        Some(last.unwrap_or(source))
    }
}

#[cfg(test)]
mod tests;
