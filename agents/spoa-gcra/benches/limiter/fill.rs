//! Clients in Valkey, one key each: what they take is Valkey's to say.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;
use spoa_gcra::store::valkey::{Config, StoreError, ValkeyStore};
use tokio::task::JoinSet;

use crate::checks::{PATIENCE, ask, check, connect, ready, slow_policy};

/// Checks at once.
const IN_FLIGHT: u32 = 256;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Comma-separated URLs, as in VALKEY_NODES
    #[arg(long)]
    nodes: String,

    #[arg(long, default_value_t = 200_000)]
    clients: u32,

    /// Addresses of this family, at random; of IPv6 the first 64 bits
    #[arg(long, value_enum, default_value_t = Family::Ipv4)]
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn random(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::from(fastrand::u32(..)).into(),
            // 2000::/3 is where addresses are given out.
            Self::Ipv6 => {
                let prefix = 0x2000_0000_0000_0000 | fastrand::u64(..) >> 3;
                Ipv6Addr::from(u128::from(prefix) << 64).into()
            }
        }
    }
}

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let config = Config {
        budget: PATIENCE,
        ..Config::default()
    };
    let store = connect(&options.nodes, config)?;
    ready(&store, &slow_policy()).await?;
    let left = Arc::new(AtomicU32::new(options.clients));
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        tasks.spawn(fill(store.clone(), options.family, left.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    println!("{{\"clients\": {}}}", options.clients);
    Ok(())
}

async fn fill(store: ValkeyStore, family: Family, left: Arc<AtomicU32>) -> Result<(), StoreError> {
    let policy = slow_policy();
    let take = |left: u32| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let client = family.random();
        // On a machine that is too busy the connection is lost now and then.
        while ask(&store, check(client, &policy, 1)).await.is_err() {
            ready(&store, &policy).await?;
        }
    }
    Ok(())
}
