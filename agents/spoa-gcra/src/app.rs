//! The composition: which layers stand around which store, and in which order. The only
//! file that names both ends.

use std::convert::Infallible;
use std::sync::Arc;

use spop_server::Router;
use tower::ServiceBuilder;
use tower_service::Service;

use crate::check_rate::{self, CheckRateLayer};
use crate::identity::Identity;
use crate::policy::Policy;
use crate::settings::Settings;
use crate::store::denial_cache::DenialCacheLayer;
use crate::store::failure::FailureLayer;
use crate::store::memory::MemoryStore;
use crate::store::valkey::{self, ValkeyStore};
use crate::store::{Check, Verdict};

/// The agent's service, for [`spop_server::serve()`].
///
/// # Errors
/// If the Valkey nodes of the settings cannot be used. Never because one does not answer.
///
/// # Panics
/// Outside a tokio runtime, if the settings name Valkey nodes.
pub fn router(settings: &Settings) -> Result<Router, valkey::ConfigError> {
    let memory = MemoryStore::new(settings.memory_clients);
    if settings.valkey.is_empty() {
        return Ok(limiter(settings, memory));
    }
    let valkey = valkey::Config {
        ttl: settings.ttl,
        budget: settings.decision_budget,
        ..valkey::Config::default()
    };
    let nodes = settings.valkey.iter().map(|node| node.info.clone());
    let denials = settings.denial_cache;
    let store = ServiceBuilder::new()
        // Outermost, so that whatever goes wrong below it, slowness included, there is an
        // answer in time.
        .layer(FailureLayer::new(memory, settings.decision_budget))
        .option_layer((denials > 0).then(|| DenialCacheLayer::new(denials)))
        .service(ValkeyStore::connect(nodes.collect(), valkey)?);
    Ok(limiter(settings, store))
}

fn limiter<S>(settings: &Settings, store: S) -> Router
where
    S: Service<Check, Response = Verdict, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let identity = Identity::new(settings.trusted_proxies.clone(), settings.ipv6_prefix);
    let policy = Policy::of_one(settings.quota).with_failure(settings.failure);
    let check_rate = ServiceBuilder::new()
        .layer(CheckRateLayer::new(
            identity,
            Arc::new(policy),
            settings.decision_budget,
        ))
        .service(store);
    Router::new().message_service(check_rate::MESSAGE, check_rate)
}
