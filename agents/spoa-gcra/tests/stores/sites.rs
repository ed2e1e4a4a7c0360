//! Where the properties are tested: three agents that share one state, of each kind.

use std::any::Any;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use spoa_gcra::store::denial_cache::{DenialCache, DenialCacheLayer};
use spoa_gcra::store::memory::MemoryStore;
use spoa_gcra::store::valkey::{Config, ValkeyStore};
use spoa_gcra::store::{Check, Source, Verdict};
use spop_testkit::valkey::{Cluster, Server};
use tokio::sync::Mutex;
use tower::{Layer, Service, ServiceExt};

use crate::checks::{PATIENCE, check, client, slow_policy};

/// Agents of one limiter.
pub(crate) struct Site<S> {
    pub(crate) agents: [S; 3],
    /// Who decides.
    pub(crate) source: Source,
    /// What the agents talk to, which ends with the last site that uses it.
    _servers: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a store is to the properties.
pub(crate) trait Store:
    Service<Check, Response = Verdict, Error: Debug, Future: Send> + Clone + Send + 'static
{
}

impl<S> Store for S where
    S: Service<Check, Response = Verdict, Error: Debug, Future: Send> + Clone + Send + 'static
{
}

impl<S: Store> Site<S> {
    /// The verdict on this check, asked of agent `n % 3`.
    pub(crate) async fn ask(&self, n: usize, check: Check) -> Verdict {
        ask(self.agents[n % self.agents.len()].clone(), check).await
    }
}

/// The verdict, of a store that is up.
pub(crate) async fn ask(store: impl Store, check: Check) -> Verdict {
    let verdict = tokio::time::timeout(PATIENCE, store.oneshot(check));
    verdict.await.unwrap().unwrap()
}

/// Clones of one store in memory.
pub(crate) async fn memory() -> Site<MemoryStore> {
    let store = MemoryStore::new(100_000);
    Site {
        agents: [store.clone(), store.clone(), store],
        source: Source::Memory,
        _servers: None,
    }
}

/// Agents with two connections each to one server.
pub(crate) async fn standalone() -> Site<ValkeyStore> {
    static SERVER: Shared<Server> = Shared::new();
    let server = SERVER.get(async || Server::start().await.unwrap()).await;
    let urls = server.url();
    on_valkey(&urls, server).await
}

/// The same on a cluster of three primaries.
pub(crate) async fn cluster() -> Site<ValkeyStore> {
    static CLUSTER: Shared<Cluster> = Shared::new();
    let cluster = CLUSTER.get(async || Cluster::start(3).await.unwrap()).await;
    let urls = cluster.urls();
    on_valkey(&urls, cluster).await
}

/// Agents on one server, each with a denial cache of its own.
pub(crate) async fn cached() -> Site<DenialCache<ValkeyStore>> {
    let site = standalone().await;
    Site {
        agents: site
            .agents
            .map(|store| DenialCacheLayer::new(4096).layer(store)),
        source: site.source,
        _servers: site._servers,
    }
}

async fn on_valkey(urls: &str, servers: Arc<dyn Any + Send + Sync>) -> Site<ValkeyStore> {
    let agent = || {
        let nodes = urls.split(',').map(|url| url.parse().unwrap()).collect();
        let config = Config {
            lanes: 2,
            budget: Duration::from_secs(20),
            ..Config::default()
        };
        ValkeyStore::connect(nodes, config).unwrap()
    };
    let agents = [agent(), agent(), agent()];
    for agent in &agents {
        // Enough clients that every node of a cluster has some.
        for _ in 0..30 {
            ready(agent).await;
        }
    }
    Site {
        agents,
        source: Source::Valkey,
        _servers: Some(servers),
    }
}

/// Waits until some client's primary decides.
async fn ready(store: &ValkeyStore) {
    let since = Instant::now();
    let check = check(client(), &slow_policy(1), 0, 1);
    while let Err(error) = store.clone().oneshot(check.clone()).await {
        assert!(since.elapsed() < PATIENCE, "not ready: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Started for the first test that needs it, ended with the last.
struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    async fn get(&self, start: impl AsyncFnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().await;
        match shared.upgrade() {
            Some(running) => running,
            None => {
                let started = Arc::new(start().await);
                *shared = Arc::downgrade(&started);
                started
            }
        }
    }
}
