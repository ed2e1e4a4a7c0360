//! What the log says of an outage at the default `RUST_LOG`: its beginning, and its end.

use spop_testkit::valkey::{Cluster, Server, Setup};
use tokio::time::{Instant, sleep};

use crate::{Duration, PATIENCE, Watched, ask};

const REPLACED: &str = "a primary that did not answer is out of use";

/// How warnings begin, and those with which the same is over.
const ASKING: (&str, &[&str]) = (
    "cannot find out from Valkey which servers there are",
    &["found out from Valkey which servers there are"],
);
const STORE: (&str, &[&str]) = ("the store does not answer", &["the store answers again"]);
const PRIMARY: (&str, &[&str]) = ("Valkey does not answer", &["connected to Valkey", REPLACED]);

fn warnings(log: &[String], words: &[&str]) -> usize {
    let is_one =
        |line: &&String| line.contains("WARN") && words.iter().any(|words| line.contains(words));
    log.iter().filter(is_one).count()
}

/// Whether there are as many ends as beginnings.
fn is_over(log: &[String], (begin, ends): (&str, &[&str])) -> bool {
    warnings(log, &[begin]) == warnings(log, ends)
}

/// Asks until the log is so.
async fn until(watched: &Watched, what: &str, condition: impl Fn(&[String]) -> bool) {
    let mut haproxy = watched.haproxy().await;
    let since = Instant::now();
    loop {
        // Of all of a cluster's primaries.
        for client in 0..20 {
            ask(&mut haproxy, client, "default").await;
        }
        let log = watched.agent.log();
        if condition(&log) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: {log:#?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn until_over(watched: &Watched) {
    let all = [ASKING, STORE, PRIMARY];
    let over = |log: &[String]| all.iter().all(|&of| is_over(log, of));
    until(watched, "it is not over", over).await;
}

/// An agent that has time: what is told here is told of outages only.
async fn agent(nodes: &str) -> Watched {
    Watched::start(&[
        ("RUST_LOG", "warn"),
        ("VALKEY_NODES", nodes),
        ("SPOA_DECISION_BUDGET", "1000"),
        ("SPOA_DENIAL_CACHE", "0"),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_the_outage_of_a_server_begin_sees_it_end() {
    let valkey = Server::start().await.unwrap();
    valkey.kill();
    let watched = agent(&valkey.url()).await;
    until(&watched, "there is no server yet", |log| {
        !is_over(log, ASKING) && !is_over(log, STORE)
    })
    .await;
    valkey.restart().await.unwrap();
    until_over(&watched).await;

    valkey.kill();
    until(&watched, "the server is gone", |log| {
        !is_over(log, PRIMARY) && !is_over(log, STORE)
    })
    .await;
    valkey.restart().await.unwrap();
    until_over(&watched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_in_a_primarys_place_is_an_end_too() {
    let cluster = Cluster::start_with(Setup::new(3, 1)).await.unwrap();
    let watched = agent(&cluster.urls()).await;
    until_over(&watched).await;
    cluster.node(0).kill();
    // Its replica takes over by itself, and may have done so by the time this is looked at.
    let begun = |log: &[String]| warnings(log, &[PRIMARY.0]) > 0;
    until(&watched, "the primary is gone", begun).await;
    until_over(&watched).await;
    let log = watched.agent.log();
    assert!(warnings(&log, &[REPLACED]) > 0, "{log:#?}");
}
