//! Traces of what an agent answers, for an OpenTelemetry collector: with the feature `otel`, and
//! with an address in `OTEL_EXPORTER_OTLP_ENDPOINT`.
//!
//! Each NOTIFY is a span. Where one of its messages has an argument `traceparent`, as HAProxy's
//! `req.fhdr(traceparent)` reads it off a request (W3C Trace Context; `tracestate` goes with it),
//! it is a child of that span, and otherwise a root.
//!
//! | attribute | |
//! |---|---|
//! | `network.protocol.name` | `spop` |
//! | `spop.messages` | the messages' names: `check-ip,check-rate` |
//! | `spop.stream_id`, `spop.frame_id` | as HAProxy counts them |
//! | `spop.engine_id` | which HAProxy asks |
//! | `error.type` | `dropped`: the answer came too late, and HAProxy got the engine's, or the connection ended; `panic` |
//!
//! No span has an address of a client, or another argument's value.
//!
//! An agent adds spans of its own below that by the target [`TARGET`], and events by the target
//! `my_agent::decision`, after its name:
//!
//! ```
//! use spoa_process::traces::TARGET;
//! use tracing::info_span;
//!
//! let asked = info_span!(target: TARGET, "database", otel.kind = "client");
//! ```
//!
//! Spans wait in a bounded queue for a thread of their own, which sends them in batches: nothing
//! that answers HAProxy ever waits for the collector. What does not fit, and what a collector
//! does not take, is lost; that is logged once when it begins and once when it is over. What is
//! queued when the process ends gets 2 s at most.

#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod export;
mod settings;
#[cfg(feature = "otel")]
mod spans;

use std::time::Duration;

pub use settings::TracesError;

/// The target of spans to be sent. The log does not show what has it.
pub const TARGET: &str = "spoa_process::span";

/// How long the end of a process waits for the collector, which may never answer: whoever stops an
/// agent waits, too.
#[cfg(feature = "otel")]
const LONGEST_END: Duration = Duration::from_secs(2);

/// Whether, and how, traces are sent. Without the feature `otel` they never are.
#[derive(Debug, Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    export: Option<export::Export>,
    /// The variable that asks for what this build does not have.
    #[cfg(not(feature = "otel"))]
    asked_by: Option<&'static str>,
}

impl Traces {
    /// None are sent.
    pub fn off() -> Self {
        Self::default()
    }

    /// What the environment says, for the agent called `name`: so its traces are called unless
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
    ///
    /// The variables are OpenTelemetry's own: `OTEL_EXPORTER_OTLP_ENDPOINT`, without which there
    /// are no traces, `_HEADERS` and `_TIMEOUT`, each also for traces alone
    /// (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); `OTEL_TRACES_SAMPLER` and `_ARG`, by default
    /// `parentbased_always_on`; `OTEL_BSP_*` for the queue; `OTEL_SDK_DISABLED`.
    ///
    /// To be called before the log is [started](crate::log::start_with).
    ///
    /// # Errors
    /// If one of them is not acceptable. Never because the collector does not answer.
    pub fn from_env(name: &str) -> Result<Self, TracesError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let Some(asked_by) = settings::asked_by(lookup)? else {
            return Ok(Self::off());
        };
        #[cfg(feature = "otel")]
        {
            settings::check(lookup, asked_by)?;
            let export = Some(export::Export::start(name, asked_by, lookup)?);
            Ok(Self { export })
        }
        #[cfg(not(feature = "otel"))]
        {
            let _ = name;
            let asked_by = Some(asked_by);
            Ok(Self { asked_by })
        }
    }

    /// Once there is a log.
    pub(crate) fn warn_if_missing(&self) {
        #[cfg(not(feature = "otel"))]
        if let Some(variable) = self.asked_by {
            tracing::warn!(
                "{variable} is set, but this build has no traces: build with --features otel"
            );
        }
    }

    /// Sends what is queued, and no more after that. Takes no longer than `limit`, nor than
    /// [`LONGEST_END`].
    pub(crate) async fn end(self, limit: Duration) {
        #[cfg(feature = "otel")]
        if let Some(export) = self.export {
            export.end(limit.min(LONGEST_END)).await;
        }
        #[cfg(not(feature = "otel"))]
        let _ = limit;
    }
}
