//! The store in memory: what a client takes, by its own account.

use std::error::Error;
use std::net::Ipv4Addr;

use spoa_gcra::store::memory::MemoryStore;

use crate::checks::{check, slow_policy};

/// The agent's default.
const MOST: usize = 500_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
}

pub(crate) fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new(MOST);
    let policy = slow_policy();
    for client in 0..options.clients {
        store.decide(&check(Ipv4Addr::from(client), &policy, 1));
    }
    let each = store.allocated() as f64 / store.len() as f64;
    println!("{{\"bytes_a_client\": {each}}}");
    Ok(())
}
