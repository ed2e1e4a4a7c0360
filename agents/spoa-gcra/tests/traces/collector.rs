//! A collector of traces, by OTLP over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::PATIENCE;

/// Takes traces on a free loopback port, until dropped.
pub(crate) struct Collector {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    service: JoinHandle<()>,
}

#[derive(Clone)]
pub(crate) struct Got {
    pub(crate) api_key: String,
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let put = Arc::clone(&got);
        let take = async move |headers: HeaderMap, body: Bytes| {
            put.lock().unwrap().extend(spans(&headers, body));
        };
        let router = Router::new().route("/v1/traces", post(take));
        let service = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, got, service }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The spans, once there are `count`.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Got> {
        let started = Instant::now();
        loop {
            let got = self.got.lock().unwrap().clone();
            if got.len() >= count {
                return got;
            }
            assert!(started.elapsed() < PATIENCE, "{} spans", got.len());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.service.abort();
    }
}

fn spans(headers: &HeaderMap, body: Bytes) -> Vec<Got> {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let header = headers.get("api-key").map(|value| value.to_str().unwrap());
    let api_key = header.unwrap_or_default().to_owned();
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let service = text(&of_resource.resource.unwrap().attributes, "service.name").unwrap();
        for span in of_resource.scope_spans.into_iter().flat_map(|of| of.spans) {
            let (api_key, service) = (api_key.clone(), service.clone());
            spans.push(Got {
                api_key,
                service,
                span,
            });
        }
    }
    spans
}

pub(crate) fn value<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.as_ref()?.value.as_ref()
}

pub(crate) fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    match value(attributes, name)? {
        Value::StringValue(text) => Some(text.clone()),
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
