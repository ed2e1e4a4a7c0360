//! The span of one wait for Valkey, below the NOTIFY's.

use std::future::Future;

use spoa_process::traces::TARGET;
use tracing::{Instrument as _, Level, Span, field, info_span, span_enabled};

use super::StoreError;
use crate::store::Verdict;

/// Whether anybody wants such spans.
pub(crate) fn is_wanted() -> bool {
    span_enabled!(target: TARGET, Level::INFO)
}

/// Waits in a span. No attribute of it is the client's: neither key nor arguments.
pub(crate) fn in_span(
    answer: impl Future<Output = Result<Verdict, StoreError>>,
) -> impl Future<Output = Result<Verdict, StoreError>> {
    let span = info_span!(
        target: TARGET,
        "valkey",
        otel.kind = "client",
        db.system.name = "valkey",
        error.type = field::Empty,
        otel.status_code = field::Empty,
    );
    let mut wait = Wait {
        span: span.clone(),
        error: Some("dropped"),
    };
    async move {
        let answer = answer.await;
        wait.ended(answer.as_ref().err());
        answer
    }
    .instrument(span)
}

/// Says how it ended, also when nobody waits any more: when the decision budget is over.
struct Wait {
    span: Span,
    error: Option<&'static str>,
}

impl Wait {
    fn ended(&mut self, error: Option<&StoreError>) {
        self.error = error.map(StoreError::kind);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(error) = self.error {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}
