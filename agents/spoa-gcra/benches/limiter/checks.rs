//! Checks of clients by the number, and a store to ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::Policy;
use spoa_gcra::store::valkey::{Config, ConfigError, StoreError, ValkeyStore};
use spoa_gcra::store::{Check, Client, Verdict};
use tower::ServiceExt;

/// So long that no pause of a busy machine uses it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The agent's default: 100 a second, 20 at once.
pub(crate) fn default_policy() -> Arc<Policy> {
    policy(10_000, 200_000)
}

/// Nothing expires while it is looked at.
pub(crate) fn slow_policy() -> Arc<Policy> {
    const HOUR: u64 = 3_600_000_000;
    policy(HOUR, HOUR)
}

#[expect(clippy::expect_used, reason = "of constants")]
fn policy(interval: u64, burst: u64) -> Arc<Policy> {
    let quota = Quota::new(interval, burst).expect("a quota");
    Arc::new(Policy::of_one(quota))
}

pub(crate) fn check(client: impl Into<IpAddr>, policy: &Arc<Policy>, cost: u64) -> Check {
    Check {
        client: Client(client.into()),
        policy: policy.clone(),
        cost,
        count: 1,
        deadline: Instant::now() + PATIENCE,
    }
}

pub(crate) async fn ask(store: &ValkeyStore, check: Check) -> Result<Verdict, StoreError> {
    store.clone().oneshot(check).await
}

/// A store on these comma-separated URLs.
pub(crate) fn connect(nodes: &str, config: Config) -> Result<ValkeyStore, ConfigError> {
    let nodes = nodes.split(',').filter_map(|url| url.parse().ok());
    ValkeyStore::connect(nodes.collect(), config)
}

/// Waits until it decides, or says why it does not.
pub(crate) async fn ready(store: &ValkeyStore, policy: &Arc<Policy>) -> Result<(), StoreError> {
    let since = Instant::now();
    loop {
        match ask(store, check([192, 0, 2, 7], policy, 0)).await {
            Ok(_) => return Ok(()),
            Err(error) if since.elapsed() > 10 * PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
