//! From spans to batches on their way to the collector.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Key;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::task::spawn_blocking;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::collector::Collector;
use super::{TARGET, Traces, TracesError, settings};

/// The queue, the thread that empties it, and what goes in.
#[derive(Debug)]
pub(super) struct Export {
    provider: SdkTracerProvider,
    /// The target of events to send, `my_agent::decision`.
    events: String,
}

impl Export {
    pub(super) fn start(
        name: &str,
        asked_by: &'static str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TracesError> {
        let collector = Collector::new(settings::timeout(lookup)?)?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(collector.clone())
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|error| match error {
                // Of what it reads, this is not checked yet.
                ExporterBuildError::InvalidConfiguration(_) => TracesError::Secret {
                    name: asked_by,
                    problem: "not a URL, such as http://127.0.0.1:4318",
                },
                error => TracesError::Exporter(error.to_string()),
            })?;
        let exporter = Reported {
            exporter,
            collector,
            lost: AtomicUsize::new(0),
        };
        // How many spans wait, and how long, is read from OTEL_BSP_*.
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(name))
            .with_batch_exporter(exporter)
            .build();
        Ok(Self {
            provider,
            events: format!("{}::decision", name.replace('-', "_")),
        })
    }

    pub(super) async fn end(self, limit: Duration) {
        let Self { provider, .. } = self;
        // It waits for the thread.
        let ended = spawn_blocking(move || provider.shutdown_with_timeout(limit));
        if let Ok(Err(error)) = ended.await {
            warn!(%error, "the last traces are lost");
        }
    }
}

fn resource(name: &str) -> Resource {
    let named = Resource::builder().build();
    let unnamed = named
        .get(&Key::from_static_str("service.name"))
        .is_none_or(|found| found.as_str().starts_with("unknown_service"));
    if unnamed {
        return Resource::builder()
            .with_service_name(name.to_owned())
            .build();
    }
    named
}

impl Traces {
    /// What hands spans to the exporter. `None`: nobody wants them.
    pub(crate) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let Export { provider, events } = self.export.as_ref()?;
        let events = events.clone();
        let wanted = filter_fn(move |metadata| {
            let of_spans = metadata.target() == TARGET && *metadata.level() <= Level::INFO;
            of_spans || metadata.is_event() && metadata.target() == events
        });
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
            // Spans are what their fields say. Where in the source they began, and on which
            // thread, helps nobody.
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        Some(spans.with_filter(wanted.with_max_level_hint(LevelFilter::DEBUG)))
    }
}

/// Says once that the collector takes nothing, and once that it does again; not with every batch,
/// as the SDK would if it knew.
#[derive(Debug)]
struct Reported<E> {
    exporter: E,
    collector: Collector,
    /// Spans since the collector took some.
    lost: AtomicUsize,
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    warn!(lost, "the collector takes traces again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    let error = self
                        .collector
                        .failure()
                        .unwrap_or_else(|| error.to_string());
                    warn!(
                        error,
                        "the collector takes no traces; they are lost until it does"
                    );
                }
            }
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
