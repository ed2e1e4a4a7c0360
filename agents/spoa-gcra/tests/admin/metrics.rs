//! What is counted, and that it is what happened.

use std::fs;

use spop_testkit::process::Signal;
use spop_testkit::valkey::Server;

use crate::exposition::Exposition;
use crate::{LISTED, PATIENCE, TRIAL, Watched, ask, policies};

/// A limit that does not refill while a test runs: a request a minute, two at once.
const SLOW: [(&str, &str); 2] = [
    ("SPOA_RATE_INTERVAL", "60000000"),
    ("SPOA_RATE_BURST", "120000000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn decisions_in_memory_are_counted() {
    let watched = Watched::start(&SLOW).await;
    let idle = watched.metrics();
    assert_eq!(idle.get("spop_connections"), 0.0);
    assert_eq!(idle.get("memory_clients"), 0.0);

    let mut haproxy = watched.haproxy().await;
    for last in [1, 1, 1, 2] {
        ask(&mut haproxy, last, "default").await;
    }
    let metrics = watched.metrics();
    assert_eq!(metrics.decisions("default", "allowed", "memory"), 3.0);
    assert_eq!(metrics.decisions("default", "denied", "memory"), 1.0);
    assert_eq!(metrics.decisions("default", "allowed", "valkey"), 0.0);
    // The second of the first client's two.
    assert_eq!(metrics.get("near_limit_total{policy=\"default\"}"), 1.0);
    assert_eq!(metrics.get("spop_connections"), 1.0);
    assert_eq!(metrics.get("spop_notifies_total"), 4.0);
    assert_eq!(
        metrics.get("spop_notifies_failed_total{reason=\"deadline\"}"),
        0.0
    );
    assert_eq!(metrics.get("memory_clients"), 2.0);
    assert!(metrics.get("memory_bytes") > 0.0);

    drop(haproxy);
    let closed = |metrics: &Exposition| metrics.get("spop_connections") == 0.0;
    watched.until("the connection is closed", closed).await;
    assert_eq!(watched.metrics().get("spop_connections_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_is_counted_and_goes_on_when_policies_are_read_again() {
    let path = policies(&format!("{TRIAL}{LISTED}"));
    let watched = Watched::start(&[("SPOA_CONFIG", path.to_str().unwrap())]).await;
    let mut haproxy = watched.haproxy().await;
    for (last, policy) in [
        (1, "trial"),
        (1, "trial"),
        (1, "trial"),
        (1, "listed"),
        (66, "listed"),
        (66, "no such policy"),
    ] {
        ask(&mut haproxy, last, policy).await;
    }
    let metrics = watched.metrics();
    assert_eq!(metrics.decisions("trial", "allowed", "memory"), 3.0);
    assert_eq!(metrics.decisions("trial", "denied", "memory"), 0.0);
    assert_eq!(metrics.get("shadow_denied_total{policy=\"trial\"}"), 2.0);
    assert_eq!(metrics.decisions("listed", "allowed", "unlimited"), 1.0);
    assert_eq!(metrics.decisions("listed", "denied", "list"), 1.0);
    assert_eq!(metrics.decisions("default", "allowed", "memory"), 1.0);

    // From now on it denies, `listed` is gone, and there is another one.
    let trial = TRIAL.replace("true", "false");
    let other = "[policy.other]\nunlimited = true\n";
    fs::write(&path, format!("{trial}{other}")).unwrap();
    watched.agent.signal(Signal::HUP).unwrap();
    let read = watched
        .agent
        .process()
        .line("policies read again", PATIENCE);
    read.await.unwrap();
    ask(&mut haproxy, 1, "trial").await;
    let metrics = watched.metrics();
    assert_eq!(metrics.decisions("trial", "allowed", "memory"), 3.0);
    assert_eq!(metrics.decisions("trial", "denied", "memory"), 1.0);
    assert_eq!(metrics.get("shadow_denied_total{policy=\"trial\"}"), 2.0);
    assert_eq!(metrics.decisions("other", "allowed", "unlimited"), 0.0);
    assert_eq!(metrics.find("shadow_denied_total{policy=\"listed\"}"), None);
    assert_eq!(
        metrics.find("shadow_denied_total{policy=\"no such policy\"}"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_seen_until_it_can() {
    let stale = "policies_stale";
    let without = Watched::start(&[]).await;
    assert_eq!(without.metrics().find(stale), None);

    let good = "[policy.default]\nrate = '1/s'\nburst = 1\n";
    let path = policies(good);
    let watched = Watched::start(&[("SPOA_CONFIG", path.to_str().unwrap())]).await;
    assert_eq!(watched.metrics().get(stale), 0.0);
    for (text, expected) in [("[policy.default]\nburst = 0\n", 1.0), (good, 0.0)] {
        fs::write(&path, text).unwrap();
        watched.agent.signal(Signal::HUP).unwrap();
        let is_so = |metrics: &Exposition| metrics.get(stale) == expected;
        watched.until(text, is_so).await;
    }
}

/// What the alert about an agent without any breaker rests on.
#[tokio::test(flavor = "multi_thread")]
async fn a_valkey_that_was_never_reached_is_seen() {
    let renewals = "valkey_map_renewals_total";
    let alone = Watched::start(&[]).await;
    assert_eq!(alone.metrics().find(renewals), None);

    let valkey = Server::start().await.unwrap();
    let password = ["config", "set", "requirepass", "secret"];
    valkey.cli(&password).await.unwrap();
    let url = valkey.url();
    let watched = Watched::start(&[("VALKEY_NODES", &url), ("VALKEY_PASSWORD", "wrong")]).await;
    let mut haproxy = watched.haproxy().await;
    watched
        .until_asking(
            "the failure policy answers",
            async || ask(&mut haproxy, 1, "default").await,
            |metrics| metrics.get("fallbacks_total{reason=\"error\"}") >= 3.0,
        )
        .await;
    let metrics = watched.metrics();
    assert_eq!(metrics.get(renewals), 0.0);
    let breaker = |name: &str| name.contains("breaker_state{");
    assert!(!watched.get("/metrics").body.lines().any(breaker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_valkey_is_seen() {
    let valkey = Server::start().await.unwrap();
    let url = valkey.url();
    let watched = Watched::start(&[SLOW[0], SLOW[1], ("VALKEY_NODES", &url)]).await;
    let mut haproxy = watched.haproxy().await;
    let node = format!("node=\"127.0.0.1:{}\"", valkey.port());
    let breaker = |metrics: &Exposition, state: &str| {
        let sample = |state: &str| format!("valkey_breaker_state{{{node},state=\"{state}\"}}");
        let states = ["closed", "open", "half_open"];
        let all = states
            .iter()
            .filter_map(|state| metrics.find(&sample(state)));
        // It is in one of them, or not known yet.
        assert!([0.0, 1.0].contains(&all.sum()), "{metrics:#?}");
        metrics.find(&sample(state)) == Some(1.0)
    };
    let of_node = |metrics: &Exposition, name: &str| metrics.get(&format!("{name}{{{node}}}"));
    let by = |metrics: &Exposition, source: &str| {
        let decided = |outcome| metrics.decisions("default", outcome, source);
        decided("allowed") + decided("denied")
    };

    watched
        .until_asking(
            "Valkey decides, and the cache repeats it",
            async || ask(&mut haproxy, 1, "default").await,
            |metrics| by(metrics, "valkey") >= 3.0 && by(metrics, "cache") >= 1.0,
        )
        .await;
    let well = watched.metrics();
    assert!(well.get("denial_cache_learnt_total") >= 1.0);
    assert_eq!(well.get("denial_cache_hits_total"), by(&well, "cache"));
    assert_eq!(well.get("leases_total"), 0.0);
    assert!(of_node(&well, "valkey_checks_sent_total") >= 3.0);
    assert!(of_node(&well, "valkey_connections_total") >= 1.0);
    assert_eq!(of_node(&well, "valkey_queue_length"), 0.0);
    let checks = of_node(&well, "valkey_batch_checks_sum");
    assert_eq!(checks, of_node(&well, "valkey_checks_sent_total"));
    let pipelines = of_node(&well, "valkey_batch_checks_count");
    // One may have to be sent again, for want of the script.
    assert!((1.0..=checks).contains(&pipelines), "{well:#?}");
    let answered = of_node(&well, "valkey_answer_seconds_count");
    assert!((1.0..=pipelines).contains(&answered), "{well:#?}");
    assert!(of_node(&well, "valkey_answer_seconds_sum") > 0.0);
    assert!(well.get("valkey_map_renewals_total") >= 1.0);

    valkey.signal(Signal::STOP).unwrap();
    watched
        .until_asking(
            "the breaker opens",
            async || ask(&mut haproxy, 2, "default").await,
            |metrics| breaker(metrics, "open"),
        )
        .await;
    watched
        .until_asking(
            "checks are refused",
            async || ask(&mut haproxy, 3, "default").await,
            |metrics| of_node(metrics, "valkey_checks_refused_total") > 0.0,
        )
        .await;
    let frozen = watched.metrics();
    assert!(by(&frozen, "fallback") > by(&well, "fallback"));
    let reasons = |metrics: &Exposition| {
        let of = |reason| metrics.get(&format!("fallbacks_total{{reason=\"{reason}\"}}"));
        of("error") + of("timeout")
    };
    assert_eq!(reasons(&frozen), by(&frozen, "fallback"));
    assert!(frozen.get("memory_clients") >= 1.0);

    valkey.signal(Signal::CONT).unwrap();
    let mut last = 4_u8;
    watched
        .until_asking(
            "Valkey decides again",
            async || {
                last = last.wrapping_add(1);
                ask(&mut haproxy, last, "default").await;
            },
            |metrics| breaker(metrics, "closed") && by(metrics, "valkey") > by(&frozen, "valkey"),
        )
        .await;
    let back = watched.metrics();
    assert!(
        of_node(&back, "valkey_connections_total") > of_node(&well, "valkey_connections_total")
    );
    assert!(!watched.get("/metrics").body.contains("192.0.2."));
}
