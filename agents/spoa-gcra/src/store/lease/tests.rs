//! The layer around an oracle, in virtual time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::{advance, sleep, timeout};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::*;
use crate::gcra::Quota;
use crate::policy::Policy;
use crate::store::denial_cache::DenialCacheLayer;
use crate::store::memory::MemoryStore;
use crate::store::{Client, Source};

/// So many at once, another every 10 ms; 5 leased, for 100 ms.
fn leased(limit: u64) -> Policy {
    let policy = Policy::of_one(Quota::new(10_000, limit * 10_000).unwrap());
    let lease = Lease::new(5, Duration::from_millis(100)).unwrap();
    policy.with_lease(lease).unwrap()
}

fn check(policy: &Arc<Policy>) -> Check {
    Check {
        client: Client(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        policy: Arc::clone(policy),
        cost: 1,
        count: 1,
        deadline: Instant::now().into_std(),
    }
}

/// The server, by the clock of the test.
struct Oracle {
    started: Instant,
    store: MemoryStore,
    asked: AtomicU64,
}

impl Oracle {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            store: MemoryStore::new(100),
            asked: AtomicU64::new(0),
        })
    }

    fn decide(&self, check: &Check) -> Verdict {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let now = 1_760_000_000_123_456 + self.started.elapsed().as_micros() as u64;
        Verdict {
            source: Source::Valkey,
            ..self.store.decide_at(check, now)
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The way to this oracle, which takes so long there and back.
fn at(
    oracle: &Arc<Oracle>,
    way: Duration,
) -> impl Service<Check, Response = Verdict, Error = &'static str, Future: Send> + Clone + use<> {
    let oracle = Arc::clone(oracle);
    service_fn(move |check: Check| {
        let oracle = Arc::clone(&oracle);
        async move {
            if !way.is_zero() {
                sleep(way).await;
            }
            let verdict = oracle.decide(&check);
            if !way.is_zero() {
                sleep(way).await;
            }
            Ok(verdict)
        }
    })
}

const AT_ONCE: Duration = Duration::ZERO;
const WAY: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn without_competition_nothing_but_the_source_tells_the_difference() {
    let (alone, behind) = (Oracle::new(), Oracle::new());
    let policy = Arc::new(leased(20));
    let layer = LeaseLayer::new(8);
    let store = layer.layer(at(&behind, AT_ONCE));
    for n in 0..1000 {
        // Never above the rate: the server is as full with leases as without, or nearly.
        let check = check(&policy);
        let verdict = store.clone().oneshot(check.clone()).await.unwrap();
        let exact = alone.decide(&check);
        assert_eq!(verdict.decision, exact.decision, "{n}");
        assert_eq!((verdict.limit, verdict.granted), (0, 1));
        let asks = n == 0 || n % 5 == 1;
        let source = if asks { Source::Valkey } else { Source::Lease };
        assert_eq!(verdict.source, source, "{n}");
        advance(Duration::from_millis(10)).await;
    }
    assert_eq!(alone.asked(), 1000);
    let stats = layer.stats();
    assert_eq!((behind.asked(), stats.taken()), (201, 200));
    let tokens = [stats.granted(), stats.spent(), stats.expired()];
    assert_eq!(tokens, [800, 799, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_lease_is_on_its_way_does_not_wait_for_it() {
    let oracle = Oracle::new();
    let policy = Arc::new(leased(20));
    let layer = LeaseLayer::new(8);
    let store = layer.layer(at(&oracle, WAY));
    let ask = || store.clone().oneshot(check(&policy));
    ask().await.unwrap();
    let together = futures_util::future::join_all((0..4).map(|_| ask())).await;
    for (n, verdict) in together.into_iter().enumerate() {
        let verdict = verdict.unwrap();
        assert_eq!((verdict.source, verdict.granted), (Source::Valkey, 1));
        // The lease is spent by the time that the others get there.
        let remaining = verdict.decision.remaining;
        assert_eq!(remaining, [18, 13, 12, 11][n]);
    }
    assert_eq!((oracle.asked(), layer.stats().granted()), (5, 4));
    assert_eq!(ask().await.unwrap().source, Source::Lease);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_spent_while_the_server_would_deny() {
    let oracle = Oracle::new();
    let policy = Arc::new(leased(20));
    let server = ServiceBuilder::new()
        .layer(DenialCacheLayer::new(8))
        .service(at(&oracle, AT_ONCE));
    let leases = [(); 2].map(|()| LeaseLayer::new(8).layer(server.clone()));
    let [one, other] = leases;
    let ask = async |store: &_| {
        let store: &Leases<_> = store;
        store.clone().oneshot(check(&policy)).await.unwrap()
    };
    // The first agent holds 4, the second one takes what there is: 20 - 6 = 14.
    ask(&one).await;
    ask(&one).await;
    for _ in 0..14 {
        assert!(ask(&other).await.decision.allowed);
    }
    let denied = ask(&other).await;
    assert!(!denied.decision.allowed);
    assert_eq!(denied.granted, 0);
    // Denied for both, from then on. But what is paid for is paid for.
    assert_eq!(ask(&other).await.source, Source::Cache);
    for _ in 0..4 {
        let verdict = ask(&one).await;
        assert!(verdict.decision.allowed);
        assert_eq!(verdict.source, Source::Lease);
    }
    assert_eq!(ask(&one).await.source, Source::Cache);
}

#[tokio::test(start_paused = true)]
async fn failures_and_calls_given_up_cost_one_lease_at_most() {
    let policy = Arc::new(leased(20));
    let failing = service_fn(|_: Check| async { Err::<Verdict, _>("down") });
    let failing = LeaseLayer::new(8).layer(failing);
    for _ in 0..3 {
        let error = failing.clone().oneshot(check(&policy)).await;
        assert_eq!(error, Err("down"));
    }

    let oracle = Oracle::new();
    let layer = LeaseLayer::new(8);
    let store = layer.layer(at(&oracle, WAY));
    let ask = || store.clone().oneshot(check(&policy));
    ask().await.unwrap();
    // The lease was granted, and nobody heard of it.
    let given_up = timeout(WAY + WAY / 2, ask()).await;
    assert!(given_up.is_err());
    // Charged it was: one, five and this one.
    assert_eq!(ask().await.unwrap().decision.remaining, 20 - 7);
    for _ in 0..5 {
        assert_eq!(ask().await.unwrap().source, Source::Valkey);
        assert_eq!(layer.stats().taken(), 0);
    }
    advance(Duration::from_millis(100)).await;
    for _ in 0..2 {
        ask().await.unwrap();
    }
    assert_eq!(layer.stats().taken(), 1);
    assert_eq!(ask().await.unwrap().source, Source::Lease);
}

#[tokio::test(start_paused = true)]
async fn only_the_usual_single_request_is_leased() {
    let oracle = Oracle::new();
    let policy = Arc::new(leased(40).with_cost(2));
    let exact = Arc::new(Policy::of_one(policy.limits()[0].quota()));
    let layer = LeaseLayer::new(8);
    let store = layer.layer(at(&oracle, AT_ONCE));
    let ask = |check| store.clone().oneshot(check);
    let usual = Check {
        cost: 2,
        ..check(&policy)
    };
    ask(usual.clone()).await.unwrap();
    ask(usual.clone()).await.unwrap();
    assert_eq!(layer.stats().granted(), 4);
    for unusual in [
        Check {
            cost: 0,
            ..usual.clone()
        },
        Check {
            cost: 1,
            ..usual.clone()
        },
        Check {
            count: 2,
            ..usual.clone()
        },
        check(&exact),
    ] {
        for _ in 0..2 {
            let verdict = ask(unusual.clone()).await.unwrap();
            assert_eq!(verdict.source, Source::Valkey);
            assert_eq!(verdict.granted, unusual.count);
        }
    }
    assert_eq!(layer.stats().spent(), 0);
    let verdict = ask(usual).await.unwrap();
    assert_eq!(verdict.source, Source::Lease);
    // As if what came since had not.
    assert_eq!(verdict.decision.remaining, 40 - 3 * 2);
}

#[tokio::test(start_paused = true)]
async fn every_service_of_a_layer_shares_its_leases() {
    let oracle = Oracle::new();
    let policy = Arc::new(leased(20));
    let layer = LeaseLayer::new(0);
    let services = [(); 3].map(|()| layer.layer(at(&oracle, AT_ONCE)));
    let mut sources = Vec::new();
    for service in services {
        sources.push(service.oneshot(check(&policy)).await.unwrap().source);
    }
    assert_eq!(sources, [Source::Valkey, Source::Valkey, Source::Lease]);
}
