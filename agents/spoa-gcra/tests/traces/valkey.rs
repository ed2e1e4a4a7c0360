//! A wait for Valkey is a span of its own, below the NOTIFY's.

use std::time::Duration;

use spop_testkit::valkey::Server;
use tokio::time::{Instant, sleep};

use crate::collector::{Collector, Got, value};
use crate::{PATIENCE, agent, ask, ends_well};

#[tokio::test]
async fn a_span_for_each_wait_for_valkey() {
    let valkey = Server::start().await.unwrap();
    let collector = Collector::start().await;
    let settings = [
        ("VALKEY_NODES", &*valkey.url()),
        // A busy machine is no reason to answer without Valkey.
        ("SPOA_DECISION_BUDGET", "1000"),
    ];
    let agent = agent(&collector.endpoint(), &settings).await;
    let started = Instant::now();
    loop {
        ask(&agent, &[None]).await;
        let got = collector.spans(1).await;
        let mut waits = got.iter().filter(|got| got.span.name == "valkey");
        // Those before there was a connection have failed.
        let good = |got: &&Got| value(&got.span.attributes, "error.type").is_none();
        if let Some(wait) = waits.find(good) {
            assert_eq!(wait.span.kind, 3, "a client's");
            let above = |got: &&Got| got.span.span_id == wait.span.parent_span_id;
            // It is sent after those below it.
            if let Some(above) = got.iter().find(above) {
                assert_eq!(above.span.name, "notify");
                assert_eq!(above.span.trace_id, wait.span.trace_id);
                break;
            }
        }
        assert!(started.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    ends_well(&agent).await;
}
