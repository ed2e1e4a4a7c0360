//! The numbers that no running agent is needed for.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::gcra::Quota;
use crate::policy::Policy;

fn metrics() -> Metrics {
    let quota = Quota::new(1000, 1000).unwrap();
    let policies = Policies::of_one(Policy::of_one(quota));
    Metrics {
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        policies: Arc::new(ArcSwap::from_pointee(policies)),
        stale: None,
        spop: Arc::default(),
        memory: MemoryStore::new(1000),
        valkey: None,
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|own| own == line), "no {line} in:\n{text}");
}

#[test]
fn what_was_denied_in_shadow_was_allowed() {
    let metrics = metrics();
    {
        let policies = metrics.policies.load();
        let decisions = &policies.by_name(None).decisions;
        decisions.add(Source::Cache, Outcome::Denied);
        decisions.add(Source::Cache, Outcome::ShadowDenied);
        decisions.add(Source::Valkey, Outcome::ShadowDenied);
        decisions.add(Source::Valkey, Outcome::Allowed);
    }
    let text = metrics.text();
    for (outcome, source, count) in [
        ("allowed", "cache", 1),
        ("denied", "cache", 1),
        ("allowed", "valkey", 2),
        ("denied", "valkey", 0),
        ("allowed", "lease", 0),
    ] {
        has(
            &text,
            &format!(
                "spoa_gcra_decisions_total{{policy=\"default\",outcome=\"{outcome}\",\
                 source=\"{source}\"}} {count}"
            ),
        );
    }
    has(&text, "spoa_gcra_shadow_denied_total{policy=\"default\"} 2");
}

#[test]
fn without_valkey_there_is_nothing_of_it() {
    let text = metrics().text();
    for part in ["spoa_gcra_valkey_", "fallbacks", "cache_", "lease_"] {
        assert!(!text.contains(part), "{part} in:\n{text}");
    }
    has(&text, "# TYPE spoa_gcra_memory_clients gauge");
    has(&text, "spoa_gcra_memory_clients 0");
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("spoa_gcra_build_info{{version=\"{version}\"}} 1");
    has(&text, &line);
    has(&text, "process_start_time_seconds 1700000000.25");
}
