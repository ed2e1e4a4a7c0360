//! A client that does not stop, behind the denial cache: what of it reaches the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::Policy;
use spoa_gcra::store::denial_cache::{DenialCache, DenialCacheLayer};
use spoa_gcra::store::valkey::ValkeyStore;
use spoa_gcra::store::{Check, Source};
use spop_testkit::valkey::Server;
use tokio::task::{JoinSet, yield_now};
use tower::{Layer, ServiceExt};

use super::{PATIENCE, calls, client, config, ready, slow, store};

/// What came of a flood.
#[derive(Debug, Default)]
struct Flood {
    requests: AtomicU64,
    allowed: AtomicU64,
    cached: AtomicU64,
}

const TASKS: usize = 16;

/// One client asks from 16 tasks at once, without a pause, while `going` says so.
async fn flood(
    store: &DenialCache<ValkeyStore>,
    quota: Quota,
    going: impl Fn(&Flood) -> bool + Clone + Send + 'static,
) -> Flood {
    let flood = Arc::new(Flood::default());
    let policy = Arc::new(Policy::of_one(quota));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (store, flood, going) = (store.clone(), flood.clone(), going.clone());
        let policy = Arc::clone(&policy);
        tasks.spawn(async move {
            while going(&flood) {
                let check = Check {
                    client: client(1),
                    policy: Arc::clone(&policy),
                    cost: 1,
                    count: 1,
                    deadline: Instant::now() + PATIENCE,
                };
                let verdict = store.clone().oneshot(check).await.unwrap();
                let allowed = verdict.decision.allowed;
                let cached = verdict.source == Source::Cache;
                assert!(!(allowed && cached));
                assert!(allowed || verdict.decision.retry_after.unwrap() <= quota.interval());
                flood.requests.fetch_add(1, Ordering::Relaxed);
                flood
                    .allowed
                    .fetch_add(u64::from(allowed), Ordering::Relaxed);
                flood.cached.fetch_add(u64::from(cached), Ordering::Relaxed);
                // An answer that needs no wait would not let the others have their turn.
                yield_now().await;
            }
        });
    }
    tokio::time::timeout(PATIENCE, tasks.join_all())
        .await
        .unwrap();
    Arc::into_inner(flood).unwrap()
}

/// How often the server ran the script.
pub(super) async fn runs(server: &Server) -> u64 {
    calls(server, "evalsha").await + calls(server, "eval").await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_under_one_percent_reaches_the_server() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let store = DenialCacheLayer::new(65_536).layer(store);
    let before = runs(&server).await;

    // One a second; until the third, two seconds on at least.
    let quota = Quota::new(1_000_000, 1_000_000).unwrap();
    let since = Instant::now();
    let flood = flood(&store, quota, |flood| {
        flood.allowed.load(Ordering::Relaxed) < 3
    })
    .await;
    // The server's clock may be made to run a little faster than ours.
    let elapsed = since.elapsed() + Duration::from_millis(10);

    let [requests, allowed, cached] =
        [flood.requests, flood.allowed, flood.cached].map(AtomicU64::into_inner);
    let runs = runs(&server).await - before;
    println!("{requests} requests in {elapsed:?}: {allowed} allowed, {runs} runs of the script");
    // What asked at the same moment was decided by one run.
    assert!(
        runs <= requests - cached,
        "{runs} for {}",
        requests - cached
    );
    assert!(runs * 100 < requests, "{runs} of {requests}");
    assert!(
        elapsed >= Duration::from_secs(2),
        "{allowed} in {elapsed:?}"
    );
    assert!((3..=1 + elapsed.as_secs()).contains(&allowed), "{allowed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_exactly_the_limit_passes() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    // Two agents, each with what it knows.
    let agents = [(); 2].map(|()| DenialCacheLayer::new(65_536).layer(store.clone()));

    let enough = |flood: &Flood| flood.requests.load(Ordering::Relaxed) < 10_000;
    let [one, other] = &agents;
    let (one, other) = tokio::join!(flood(one, slow(50), enough), flood(other, slow(50), enough));
    let allowed = one.allowed.into_inner() + other.allowed.into_inner();
    assert_eq!(allowed, 50);
    assert!(one.cached.into_inner() > 0 && other.cached.into_inner() > 0);
}

/// The server lost the client's key: the old word holds for a second at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_server_forgot_is_admitted_again() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let store = DenialCacheLayer::new(65_536).layer(store);
    let one = flood(&store, slow(1), |flood| {
        flood.requests.load(Ordering::Relaxed) < 1000
    })
    .await;
    assert_eq!(one.allowed.into_inner(), 1);
    server.cli(&["flushall"]).await.unwrap();
    let again = flood(&store, slow(1), |flood| {
        flood.allowed.load(Ordering::Relaxed) < 1
    })
    .await;
    assert_eq!(again.allowed.into_inner(), 1);
}
