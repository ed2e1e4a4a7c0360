//! The composition: which layers stand around which store, and in which order. The only
//! file that names both ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use spop_server::admin::Counters;
use spop_server::{Request, Router};
#[cfg(feature = "otel")]
use tower::util::MapFutureLayer;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_service::Service;

use crate::check_rate::{self, CheckRateLayer};
use crate::identity::Identity;
use crate::metrics::{Metrics, ValkeyMetrics};
use crate::policy::Policies;
use crate::settings::Settings;
use crate::store::denial_cache::DenialCacheLayer;
use crate::store::failure::FailureLayer;
use crate::store::lease::LeaseLayer;
use crate::store::memory::MemoryStore;
use crate::store::valkey::{self, ValkeyStore};
use crate::store::{Check, Verdict};
use crate::top::Top;

/// Clients that have a lease at the same time; 256 KiB, and 5 MiB when all of them do.
const LEASED_CLIENTS: usize = 65_536;

/// The agent, put together.
#[derive(Debug)]
#[non_exhaustive]
pub struct App {
    /// The service, for [`spop_server::serve()`].
    pub router: Router,
    /// What is known of how it does. Its [`spop`](field@Metrics::spop) wants to be the server's
    /// observer.
    pub metrics: Metrics,
    /// Who is denied most; off if the admin listener is.
    pub top: Top,
}

/// Puts the agent together. Which `policies` are in force may change at any time.
///
/// # Errors
/// If the Valkey nodes of the settings cannot be used. Never because one does not answer.
///
/// # Panics
/// Outside a tokio runtime, if the settings name Valkey nodes.
pub fn build(
    settings: &Settings,
    policies: Arc<ArcSwap<Policies>>,
) -> Result<App, valkey::ConfigError> {
    let memory = MemoryStore::new(settings.memory_clients);
    let top = Top::new(settings.top, settings.ipv6_prefix);
    let mut metrics = Metrics {
        started: SystemTime::now(),
        policies: Arc::clone(&policies),
        stale: None,
        spop: Arc::new(Counters::default()),
        memory: memory.clone(),
        valkey: None,
    };
    if settings.valkey.is_empty() {
        let router = limiter(settings, policies, top.clone(), memory);
        return Ok(App {
            router,
            metrics,
            top,
        });
    }
    let valkey = valkey::Config {
        lanes: settings.valkey_lanes,
        call: settings.valkey_call,
        ttl: settings.ttl,
        budget: settings.decision_budget,
        ..valkey::Config::default()
    };
    let nodes = settings.valkey.iter().map(|node| node.info.clone());
    let store = ValkeyStore::connect(nodes.collect(), valkey)?;
    let failures = FailureLayer::new(memory, settings.decision_budget);
    let leases = LeaseLayer::new(LEASED_CLIENTS);
    let denials = settings.denial_cache;
    let denials = (denials > 0).then(|| DenialCacheLayer::new(denials));
    metrics.valkey = Some(ValkeyMetrics {
        store: store.clone(),
        failures: failures.stats(),
        leases: leases.stats(),
        denials: denials.as_ref().map(DenialCacheLayer::stats),
    });
    #[cfg(feature = "otel")]
    let store = {
        let spans = valkey::span::is_wanted();
        let spans = spans.then(|| MapFutureLayer::new(valkey::span::in_span));
        // Innermost: only what Valkey is asked has a span.
        ServiceBuilder::new().option_layer(spans).service(store)
    };
    let store = ServiceBuilder::new()
        // Outermost, so that whatever goes wrong below it, slowness included, there is an
        // answer in time.
        .layer(failures)
        // Around the denial cache: what is leased is paid for. Always there, since the next
        // policies may want leases.
        .layer(leases)
        .option_layer(denials)
        .service(store);
    let router = limiter(settings, policies, top.clone(), store);
    Ok(App {
        router,
        metrics,
        top,
    })
}

fn limiter<S>(settings: &Settings, policies: Arc<ArcSwap<Policies>>, top: Top, store: S) -> Router
where
    S: Service<Check, Response = Verdict, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let identity = Identity::new(settings.trusted_proxies.clone(), settings.ipv6_prefix);
    let check_rate = ServiceBuilder::new()
        .layer(CheckRateLayer::new(
            identity,
            policies,
            settings.decision_budget,
            top,
        ))
        .service(store);
    let other = check_rate.clone();
    Router::new()
        .message_service(check_rate::MESSAGE, check_rate)
        // Which messages there are is the policies' to say, and theirs may change.
        .fallback(move |request: Request| other.clone().oneshot(request))
}

#[cfg(test)]
mod tests;
