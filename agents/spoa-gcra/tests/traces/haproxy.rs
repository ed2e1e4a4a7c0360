//! A trace that goes through HAProxy, by the lines for it in the README.

use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::http::Client;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;

use crate::collector::{Collector, hex};
use crate::{PARENT, PATIENCE, TRACE, agent, ends_well};

/// The README's line that begins like this.
fn line(beginning: &str) -> &'static str {
    let mut lines = include_str!("../../README.md").lines().map(str::trim);
    lines.find(|line| line.starts_with(beginning)).unwrap()
}

/// Whether the agent's span is below the one that a client names: a client at 127.0.0.1, and one
/// at 127.0.0.2.
async fn below(haproxy: &Haproxy, changes: &[(&'static str, &'static str)]) -> [bool; 2] {
    let collector = Collector::start().await;
    let agent = agent(&collector.endpoint(), &[]).await;
    let web = Web::start().await.unwrap();
    let setup = Setup {
        // What is answered is the question here, not how fast a busy machine does it.
        timeout: Some(PATIENCE),
        changes: changes.to_vec(),
        ..Setup::new(agent.addr(), web.addr())
    };
    let server = Server::start(haproxy, &setup).await.unwrap();
    for last in [1, 2] {
        let client = Client::from([127, 0, 0, last]);
        let request = client
            .get(server.url())
            .header("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
            .header("tracestate", "vendor=value");
        assert_eq!(request.send().await.unwrap().status, 200);
    }
    let plain = Client::new().get(server.url()).send().await.unwrap();
    assert_eq!(plain.status, 200);
    ends_well(&agent).await;
    let mut got = collector.spans(3).await;
    got.sort_by_key(|got| got.span.start_time_unix_nano);
    let [first, second, plain] = &got[..] else {
        panic!("{} spans", got.len());
    };
    assert_ne!(hex(&plain.span.trace_id), TRACE);
    assert!(plain.span.parent_span_id.is_empty());
    [first, second].map(|got| {
        let below = hex(&got.span.trace_id) == TRACE;
        let [parent, state] = if below {
            [PARENT, "vendor=value"]
        } else {
            [""; 2]
        };
        assert_eq!(hex(&got.span.parent_span_id), parent);
        assert_eq!(got.span.trace_state, state);
        below
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_below_the_one_that_the_client_names() {
    let changes = [("args ", line("args ip_fwd"))];
    for haproxy in Haproxy::engines().unwrap() {
        assert_eq!(below(&haproxy, &changes).await, [true, true]);
    }
}

/// `http-request del-header` would come too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_only_some_may_write() {
    let believed = line("tcp-request content set-var(txn.traceparent)");
    let believed = believed.replace("10.0.0.0/8", "127.0.0.2");
    let filter = "filter spoe engine rate-limit config spoe-rate-limit.conf";
    let believed = [&believed, &believed.replace("parent", "state"), filter].join("\n");
    let deleted = ["http-request del-header traceparent", filter].join("\n");
    let args = line("args ip_fwd");
    let variables = args
        .replace("req.fhdr(traceparent)", "var(txn.traceparent)")
        .replace("req.fhdr(tracestate)", "var(txn.tracestate)");
    let believing = [("args ", &*variables.leak()), ("filter ", believed.leak())];
    let deleting = [("args ", args), ("filter ", deleted.leak())];
    for haproxy in Haproxy::engines().unwrap() {
        assert_eq!(below(&haproxy, &believing).await, [false, true]);
        assert_eq!(below(&haproxy, &deleting).await, [true, true]);
    }
}
