//! The agent's counts as text for Prometheus. They are read when somebody asks for them:
//! nothing is added up, and nothing locked, that requests wait for.
//!
//! Labels are names of policies, addresses of Valkey's primaries, and words of this agent.
//! No client is in any of them.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use spop_server::admin::{Counters, Exposition, HistogramCounts};

use crate::policy::{Outcome, Policies, Stale};
use crate::store::Source;
use crate::store::denial_cache::DenialCacheStats;
use crate::store::failure::FailureStats;
use crate::store::lease::LeaseStats;
use crate::store::memory::MemoryStore;
use crate::store::valkey::{BreakerState, PrimaryState, ValkeyStore};

/// Begins each name.
const PREFIX: &str = "spoa_gcra";

/// Handles on everything that counts. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// When this process began.
    pub started: SystemTime,
    /// What is in force, and what was decided under it.
    pub policies: Arc<ArcSwap<Policies>>,
    /// Whether those are stale; `None`: they are of no file, or nobody watches it.
    pub stale: Option<Stale>,
    /// HAProxy's connections and what came over them.
    pub spop: Arc<Counters>,
    /// The state in this process.
    pub memory: MemoryStore,
    /// The shared state; `None`: there is none.
    pub valkey: Option<ValkeyMetrics>,
}

/// Handles on the shared store and what stands around it.
#[derive(Debug, Clone)]
pub struct ValkeyMetrics {
    /// The store.
    pub store: ValkeyStore,
    /// The answers in its place.
    pub failures: FailureStats,
    /// The leases in front of it.
    pub leases: LeaseStats,
    /// The denials that it need not repeat; `None`: it is always asked.
    pub denials: Option<DenialCacheStats>,
}

impl Metrics {
    /// All of them, as of now, in the format that [`PROMETHEUS`](spop_server::admin::PROMETHEUS)
    /// names: a few lines for each policy and each primary. Takes the longer the more clients are remembered, up to some ms: not for a
    /// task that must not block.
    pub fn text(&self) -> String {
        let mut page = Exposition::new(PREFIX);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauge("build_info", "The version, as a label.", [(version, 1)]);
        page.start_time(self.started);
        self.stale(&mut page);
        self.decisions(&mut page);
        self.memory(&mut page);
        if let Some(valkey) = &self.valkey {
            valkey.primaries(&mut page);
            valkey.failures(&mut page);
            valkey.denials(&mut page);
            valkey.leases(&mut page);
        }
        page.text() + &self.spop.text(PREFIX)
    }

    fn stale(&self, page: &mut Exposition) {
        let Some(stale) = &self.stale else {
            return;
        };
        page.gauge(
            "policies_stale",
            "1 while the file of policies cannot be used and those before it stay in force.",
            [([], u64::from(stale.get()))],
        );
    }

    fn decisions(&self, page: &mut Exposition) {
        let policies = self.policies.load();
        let mut decisions = Vec::new();
        let mut shadow_denied = Vec::new();
        let mut near_limit = Vec::new();
        for named in policies.all() {
            let policy = &*named.policy.name;
            let count = |source, outcome| named.policy.decisions.get(source, outcome);
            let mut in_shadow = 0;
            for source in Source::ALL {
                let shadow = count(source, Outcome::ShadowDenied);
                in_shadow += shadow;
                for (outcome, decided) in [
                    ("allowed", count(source, Outcome::Allowed) + shadow),
                    ("denied", count(source, Outcome::Denied)),
                ] {
                    let source = ("source", source.as_str());
                    decisions.push(([("policy", policy), ("outcome", outcome), source], decided));
                }
            }
            shadow_denied.push(([("policy", policy)], in_shadow));
            near_limit.push(([("policy", policy)], named.policy.decisions.near_limit()));
        }
        page.counter(
            "decisions_total",
            "Requests decided, by what HAProxy was told and who decided it.",
            decisions,
        );
        page.counter(
            "shadow_denied_total",
            "Requests that passed only because their policy is in shadow.",
            shadow_denied,
        );
        page.counter(
            "near_limit_total",
            "Requests allowed of clients that have a tenth of their limit left, or less.",
            near_limit,
        );
    }

    fn memory(&self, page: &mut Exposition) {
        page.gauge(
            "memory_clients",
            "Clients (times limits) that this process remembers.",
            [([], count(self.memory.len()))],
        );
        page.gauge(
            "memory_bytes",
            "Bytes that their state takes.",
            [([], count(self.memory.allocated()))],
        );
        page.counter(
            "memory_evictions_total",
            "Clients forgotten too early, for want of room.",
            [([], self.memory.evictions())],
        );
    }
}

impl ValkeyMetrics {
    fn primaries(&self, page: &mut Exposition) {
        let primaries = self.store.primaries();
        let breakers = primaries.iter().flat_map(|primary| {
            let states = [
                ("closed", BreakerState::Closed),
                ("open", BreakerState::Open),
                ("half_open", BreakerState::HalfOpen),
            ];
            states.map(|(word, state)| {
                let labels = [("node", &*primary.node), ("state", word)];
                (labels, u64::from(primary.breaker == state))
            })
        });
        page.gauge(
            "valkey_breaker_state",
            "1 for the state in which the primary's circuit breaker is, 0 for the others.",
            breakers,
        );
        let by_node = |value: fn(&PrimaryState) -> u64| {
            let primaries = primaries.iter();
            primaries.map(move |primary| ([("node", &*primary.node)], value(primary)))
        };
        page.gauge(
            "valkey_queue_length",
            "Checks that wait to be sent to the primary.",
            by_node(|primary| count(primary.queued)),
        );
        page.counter(
            "valkey_checks_sent_total",
            "Checks sent to the primary; one sent again counts again.",
            by_node(|primary| primary.sent),
        );
        page.counter(
            "valkey_checks_failed_total",
            "Checks that the primary was to decide and did not.",
            by_node(|primary| primary.failed),
        );
        page.counter(
            "valkey_checks_refused_total",
            "Checks not sent because the breaker was not closed.",
            by_node(|primary| primary.refused),
        );
        page.counter(
            "valkey_connections_total",
            "Connections made to the primary.",
            by_node(|primary| primary.connections),
        );
        let histograms = |histogram: fn(&PrimaryState) -> &HistogramCounts| {
            let primaries = primaries.iter();
            primaries.map(move |primary| {
                let labels = [("node", &*primary.node)];
                (labels, histogram(primary).clone())
            })
        };
        page.histogram(
            "valkey_batch_checks",
            "Checks of a pipeline sent to the primary.",
            1,
            histograms(|primary| &primary.batch_checks),
        );
        page.histogram(
            "valkey_answer_seconds",
            "Time from sending a pipeline to its answer.",
            1_000_000_000,
            histograms(|primary| &primary.answer_nanos),
        );
        page.counter(
            "valkey_map_renewals_total",
            "Times that the map of slots was read.",
            [([], self.store.map_renewals())],
        );
    }

    fn failures(&self, page: &mut Exposition) {
        page.counter(
            "fallbacks_total",
            "Checks that the failure policy answered, by what went wrong with Valkey.",
            [
                ([("reason", "error")], self.failures.errors()),
                ([("reason", "timeout")], self.failures.timeouts()),
            ],
        );
    }

    fn denials(&self, page: &mut Exposition) {
        let Some(denials) = &self.denials else {
            return;
        };
        page.counter(
            "denial_cache_hits_total",
            "Checks denied without asking Valkey.",
            [([], denials.hits())],
        );
        page.counter(
            "denial_cache_learnt_total",
            "Denials remembered.",
            [([], denials.learnt())],
        );
        page.counter(
            "denial_cache_evictions_total",
            "Denials forgotten too early, for want of room.",
            [([], denials.evictions())],
        );
    }

    fn leases(&self, page: &mut Exposition) {
        page.counter("leases_total", "Leases taken.", [([], self.leases.taken())]);
        page.counter(
            "lease_tokens_granted_total",
            "Tokens that leases brought.",
            [([], self.leases.granted())],
        );
        page.counter(
            "lease_tokens_spent_total",
            "Tokens spent: requests that passed without asking Valkey.",
            [([], self.leases.spent())],
        );
        page.counter(
            "lease_tokens_expired_total",
            "Tokens lost, because nobody came for them in time.",
            [([], self.leases.expired())],
        );
    }
}

fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
