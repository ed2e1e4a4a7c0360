//! Free TCP ports on the loopback address.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up):
/// a connection of some client can then not take the port before its server is there.
const FIRST: u32 = 10_240;
const COUNT: u32 = 32_000 - FIRST;

/// A port of 127.0.0.1 that nothing listens on, and that this process was not given before.
///
/// # Errors
/// When none is free.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time start looking at different places.
    let start = std::process::id().wrapping_mul(997) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (start + step) % COUNT)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1")
}

/// [`free`] as an address.
///
/// # Errors
/// When none is free.
pub fn free_addr() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free()?).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_are_free_and_distinct() {
        let ports: Vec<u16> = (0..50).map(|_| super::free().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
