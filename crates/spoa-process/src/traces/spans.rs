//! The span of a NOTIFY.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use spop_server::layer::{MakeSpan, TraceLayer};
use spop_server::{Message, Notify};
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{TARGET, Traces};

impl Traces {
    /// What makes the spans. `None`: nobody wants them, and the router is asked directly.
    pub(crate) fn spans(&self) -> Option<TraceLayer<NotifySpan>> {
        self.export.as_ref()?;
        Some(TraceLayer::new().make_span_with(NotifySpan))
    }
}

/// W3C Trace Context asks for no more of `tracestate` to be passed on, and clients write it.
const LONGEST_HEADER: usize = 512;

/// Makes the span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotifySpan;

impl MakeSpan<Notify> for NotifySpan {
    fn make_span(&self, notify: &Notify) -> Span {
        let id = |id: u64| i64::try_from(id).ok();
        let names = notify.messages().map(|message| message.name().to_string());
        let names: Vec<String> = names.collect();
        let span = info_span!(
            target: TARGET,
            "notify",
            otel.kind = "server",
            network.protocol.name = "spop",
            spop.messages = short(names.join(",")),
            spop.stream_id = id(notify.frame().stream_id()),
            spop.frame_id = id(notify.frame().frame_id()),
            spop.engine_id = notify.connection().engine_id().map(short),
            error.type = field::Empty,
            otel.status_code = field::Empty,
        );
        if let Some(parent) = parent(notify) {
            // It has not begun yet, so it can have one.
            let _ = span.set_parent(parent);
        }
        span
    }
}

/// The span in whose course HAProxy asks, of the first message that knows.
fn parent(notify: &Notify) -> Option<Context> {
    let mut messages = notify.messages().map(Arguments);
    let known = messages.find(|message| message.get("traceparent").is_some())?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &known);
    context.span().span_context().is_valid().then_some(context)
}

/// Of what an attribute may hold, the first 256 characters: many spans may wait for a collector.
fn short(text: impl fmt::Display) -> String {
    text.to_string().chars().take(256).collect()
}

/// A message's arguments as the headers that they are made from.
struct Arguments<'a>(Message<'a>);

impl Extractor for Arguments<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.arg(key)?.to_text()?.to_str().ok()?;
        (value.len() <= LONGEST_HEADER).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}
