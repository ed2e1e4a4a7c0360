//! Valkey's primaries.

use std::time::Instant;

use serde_json::json;
use spop_testkit::browser::Browser;
use spop_testkit::port::free_addr;
use spop_testkit::valkey::Cluster;

use crate::view::{PATIENCE, View, ask};

pub(crate) async fn a_lost_primary_is_seen(browser: &mut Browser) {
    let cluster = Cluster::start(3).await.unwrap();
    let settings = [
        ("VALKEY_NODES", &*cluster.urls()),
        ("SPOA_DECISION_BUDGET", "1000"),
    ];
    let mut view = View::open(browser, &settings).await;
    let mut haproxy = view.haproxy().await;
    let breakers =
        "[...document.querySelectorAll('#primaries .breaker')].map(cell => cell.innerText)";
    let closed = format!("{breakers}.filter(state => state === 'closed').length === 3");
    for last in 0..30 {
        ask(&mut haproxy, last, "default").await;
    }
    view.until("three primaries", &closed).await;
    let table = view.text("#primaries").await;
    for node in cluster.nodes() {
        assert!(
            table.contains(&format!("127.0.0.1:{}", node.port())),
            "{table}"
        );
    }
    view.until_it_says("#where-state", "In Valkey").await;
    view.until_it_says("#sources", "Valkey").await;

    cluster.node(0).kill();
    let lost = format!("127.0.0.1:{}", cluster.node(0).port());
    let row = format!(
        "[...document.querySelectorAll('#primaries tr')].some(row => row.innerText.includes({}) \
         && /open/.test(row.querySelector('.breaker').innerText))",
        json!(lost)
    );
    // Somebody has to ask it, and to be answered by the fallback.
    let since = Instant::now();
    while view.evaluate(&row).await != json!(true) {
        assert!(since.elapsed() < PATIENCE, "{}", view.text("body").await);
        for last in 30..60 {
            ask(&mut haproxy, last, "default").await;
        }
    }
    view.until_it_says("#troubles", &format!("{lost}: its breaker is"))
        .await;
    view.until(
        "fallbacks",
        "Number(document.getElementById('total-fallback').value) > 0",
    )
    .await;
    let good = format!("{breakers}.filter(state => state === 'closed').length === 2");
    view.until("two primaries", &good).await;
    cluster.node(0).restart().await.unwrap();
    view.until("all primaries again", &closed).await;
    view.nothing_went_wrong().await;
}

pub(crate) async fn none_that_is_reached_is_said(browser: &mut Browser) {
    let nowhere = format!("redis://{}", free_addr().unwrap());
    let mut view = View::open(browser, &[("VALKEY_NODES", &nowhere)]).await;
    view.until_it_says("#troubles", "no primary of Valkey")
        .await;
    view.nothing_went_wrong().await;
}
