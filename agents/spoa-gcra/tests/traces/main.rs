//! What a collector of traces gets from the agent, and what becomes of the agent without it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod collector;
#[cfg(feature = "e2e")]
mod haproxy;
#[cfg(feature = "e2e")]
mod valkey;

use std::net::TcpListener as Deaf;
use std::process::Command;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use spop_client::Client;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{Agent, Setup, without_settings};
use spop_testkit::port::free_addr;
use spop_testkit::process::Signal;

use collector::{Collector, Got, hex, text, value};

const AGENT: &str = env!("CARGO_BIN_EXE_spoa-gcra");

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The client whose requests are limited, of which no trace says anything.
const CLIENT: &str = "192.0.2.7";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn agent(endpoint: &str, settings: &[(&str, &str)]) -> Agent {
    let setup = Setup::new(AGENT)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .set("OTEL_BSP_SCHEDULE_DELAY", "20");
    let setup = settings
        .iter()
        .fold(setup, |setup, (name, value)| setup.set(name, value));
    setup.start().await.unwrap()
}

/// Asks once for each of `traceparents`, in this order; every question is answered.
async fn ask(agent: &Agent, traceparents: &[Option<&str>]) {
    let mut client = Client::connect(agent.addr()).await.unwrap();
    for traceparent in traceparents {
        let known = traceparent.map(|text| ("traceparent", TypedData::from(text)));
        let source = ("ip_src", TypedData::Ipv4(CLIENT.parse().unwrap()));
        let arguments = [source].into_iter().chain(known);
        let ack = client.notify("check-rate", arguments).await.unwrap();
        assert!(ack.actions().count() > 0);
    }
}

async fn ends_well(agent: &Agent) {
    agent.signal(Signal::TERM).unwrap();
    let status = agent.process().wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{:?}", agent.log());
}

#[tokio::test]
async fn a_span_for_each_notify_below_the_one_that_haproxy_names() {
    let collector = Collector::start().await;
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=for-tests");
    let agent = agent(&collector.endpoint(), &[headers]).await;
    let known = format!("00-{TRACE}-{PARENT}-01");
    // By default, what was not to be sampled above is not below, either.
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let asked = [Some(&*known), Some(&*unsampled), None, Some("00-nonsense")];
    ask(&agent, &asked).await;
    ends_well(&agent).await;
    let got = collector.spans(3).await;
    let [below, root, other] = &got[..] else {
        panic!("{} spans", got.len());
    };

    assert_eq!(hex(&below.span.trace_id), TRACE);
    assert_eq!(hex(&below.span.parent_span_id), PARENT);
    for root in [root, other] {
        assert_ne!(hex(&root.span.trace_id), TRACE);
        assert!(root.span.parent_span_id.is_empty());
    }
    for Got {
        api_key,
        service,
        span,
    } in &got
    {
        assert_eq!((&**api_key, &**service), ("for-tests", "spoa-gcra"));
        assert_eq!(span.name, "notify");
        assert_eq!(span.kind, 2, "a server's");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let attributes = &span.attributes;
        let own = |name| text(attributes, name).unwrap();
        assert_eq!(own("spop.messages"), "check-rate");
        assert_eq!(own("network.protocol.name"), "spop");
        let id = value(attributes, "spop.frame_id");
        assert!(matches!(id, Some(Value::IntValue(_))), "{id:?}");
        assert_eq!(value(attributes, "error.type"), None);
        let [decision] = &span.events[..] else {
            panic!("{:?}", span.events);
        };
        assert_eq!(decision.name, "decision");
        assert_eq!(text(&decision.attributes, "source").unwrap(), "memory");
        let allowed = value(&decision.attributes, "allowed");
        assert_eq!(allowed, Some(&Value::BoolValue(true)));
        let everything = format!("{span:?}");
        assert!(!everything.contains(CLIENT), "{everything}");
        // Nor where in the source it is from.
        assert!(!everything.contains(".rs"), "{everything}");
    }
}

#[tokio::test]
async fn what_is_queued_at_the_end_is_sent() {
    let collector = Collector::start().await;
    let settings = [
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_SERVICE_NAME", "limits"),
    ];
    let agent = agent(&collector.endpoint(), &settings).await;
    ask(&agent, &[None, None]).await;
    ends_well(&agent).await;
    let got = collector.spans(2).await;
    assert!(got.iter().all(|got| got.service == "limits"));
}

#[tokio::test]
async fn a_sampler_chooses() {
    let collector = Collector::start().await;
    let settings = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let agent = agent(&collector.endpoint(), &settings).await;
    let known = format!("00-{TRACE}-{PARENT}-01");
    ask(&agent, &[None, None, Some(&known)]).await;
    ends_well(&agent).await;
    let got = collector.spans(1).await;
    assert_eq!(got.len(), 1);
    assert_eq!(hex(&got[0].span.trace_id), TRACE);
}

#[tokio::test]
async fn without_a_collector_it_answers_and_ends() {
    let away = format!("http://{}", free_addr().unwrap());
    let agent = agent(&away, &[]).await;
    ask(&agent, &[None]).await;
    let lost = "the collector takes no traces";
    let line = agent.process().line(lost, PATIENCE).await.unwrap();
    assert!(line.contains("refused"), "{line}");
    ask(&agent, &[None; 3]).await;
    ends_well(&agent).await;
    let log = agent.log();
    let warnings = log.iter().filter(|line| line.contains("WARN"));
    assert_eq!(warnings.count(), 1, "{log:?}");
}

#[tokio::test]
async fn with_a_collector_that_never_answers_it_answers_and_ends() {
    let deaf = Deaf::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let settings = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ];
    let agent = agent(&endpoint, &settings).await;
    ask(&agent, &[None]).await;
    // It waits for an answer from here on.
    let asked = tokio::task::spawn_blocking(move || deaf.accept().map(|asked| (deaf, asked)));
    let _asked = asked.await.unwrap().unwrap();
    // More than the queue takes.
    ask(&agent, &[None; 5]).await;
    agent.process().line("queue full", PATIENCE).await.unwrap();
    ends_well(&agent).await;
}

#[test]
fn bad_settings_are_one_line() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (settings, words) in [
        (
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "secret:4317"), ("A", "")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: begins neither with http://",
        ),
        (
            [endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            "OTEL_EXPORTER_OTLP_PROTOCOL=\"grpc\": only http/protobuf",
        ),
        (
            [endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio")],
            "OTEL_TRACES_SAMPLER_ARG=\"\": not a number from 0 to 1",
        ),
        (
            [endpoint, ("OTEL_TRACES_SAMPLER", "some")],
            "OTEL_TRACES_SAMPLER=\"some\": not one of",
        ),
        (
            [endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
            "OTEL_EXPORTER_OTLP_TIMEOUT=\"10s\": not a number of milliseconds",
        ),
        (
            [endpoint, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")],
            "OTEL_EXPORTER_OTLP_COMPRESSION=\"gzip\": there is no compression",
        ),
        (
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[secret"), ("A", "")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: not a URL",
        ),
    ] {
        let mut command = Command::new(AGENT);
        let command = without_settings(&mut command).envs(settings);
        // It ends also if it finds nothing wrong.
        let output = command.arg("check").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{settings:?}: {said}");
        assert!(said.contains(words), "{settings:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
