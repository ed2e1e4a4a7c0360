//! A span for each NOTIFY or message, and an event when it ends.

mod make_span;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;
use tower::Layer;
use tower_service::Service;
use tracing::{Level, Span};

use super::accessors;
use super::passing_panic::on_panic;
use super::received::{Received, since};
use crate::failure::Failure;
use make_span::at_level;
pub use make_span::{DefaultMakeSpan, MakeSpan};

/// Puts each request in a [`tracing`] span, and says in it, once, how it ended and how long
/// after it was [received](Received::received): `answered`, or `failed` with the
/// [`Failure`]. A panic is one, too, and goes on. What nobody waits for any more is not told.
///
/// | around | span | fields |
/// |---|---|---|
/// | a [`Notify`](crate::Notify) | `notify` | `messages` (names), `stream_id`, `frame_id`, `engine_id`, `peer` |
/// | a [`Request`](crate::Request) | `message` | `name`, `engine_id`, `peer` |
///
/// A span that has the fields `error.type` and `otel.status_code`, as OpenTelemetry names them, is
/// given them if the request failed: the [`Failure`], or `dropped` where nobody waited for the
/// answer any more, since a deadline above was over or the connection had ended; and `ERROR`. The
/// spans above have neither.
///
/// Values of arguments are never logged, and what is logged of HAProxy's text is escaped.
/// When no subscriber wants the span, nothing is formatted or allocated and no clock is
/// read.
///
/// ```
/// use spop_server::Router;
/// use spop_server::layer::TraceLayer;
/// use tower::ServiceBuilder;
/// use tracing::Level;
///
/// let service = ServiceBuilder::new()
///     .layer(TraceLayer::new().level(Level::INFO))
///     .service(Router::<()>::new());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TraceLayer<M = DefaultMakeSpan> {
    make_span: M,
    level: Level,
}

impl TraceLayer {
    /// Spans and events at [`Level::DEBUG`].
    pub const fn new() -> Self {
        Self {
            make_span: DefaultMakeSpan::new(Level::DEBUG),
            level: Level::DEBUG,
        }
    }

    /// Spans and events at `level`.
    #[must_use]
    pub const fn level(self, level: Level) -> Self {
        Self {
            make_span: DefaultMakeSpan::new(level),
            level,
        }
    }
}

impl<M> TraceLayer<M> {
    /// Spans by a function of the request, or another [`MakeSpan`].
    ///
    /// ```
    /// use spop_server::Request;
    /// use spop_server::layer::TraceLayer;
    /// use tracing::debug_span;
    ///
    /// let layer = TraceLayer::new()
    ///     .make_span_with(|request: &Request| debug_span!("check", name = %request.name()));
    /// ```
    pub fn make_span_with<N>(self, make_span: N) -> TraceLayer<N> {
        TraceLayer {
            make_span,
            level: self.level,
        }
    }
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, M: Clone> Layer<S> for TraceLayer<M> {
    type Service = Trace<S, M>;

    fn layer(&self, inner: S) -> Trace<S, M> {
        Trace {
            inner,
            make_span: self.make_span.clone(),
            level: self.level,
        }
    }
}

/// The service that [`TraceLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Trace<S, M = DefaultMakeSpan> {
    inner: S,
    make_span: M,
    level: Level,
}

impl<S, M> Trace<S, M> {
    accessors!(S);
}

impl<S, R, M> Service<R> for Trace<S, M>
where
    S: Service<R, Error: 'static>,
    R: Received,
    M: MakeSpan<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let span = self.make_span.make_span(&request);
        let received = request.received();
        let answer = span.in_scope(|| {
            let call = || self.inner.call(request);
            on_panic(call, || failed(&span, self.level, received, Failure::Panic))
        });
        TraceFuture {
            answer,
            span,
            received,
            level: self.level,
            ended: false,
        }
    }
}

pin_project! {
    /// The future of [`Trace`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TraceFuture<F> {
        #[pin]
        answer: F,
        span: Span,
        received: Instant,
        level: Level,
        ended: bool,
    }

    impl<F> PinnedDrop for TraceFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if !this.ended {
                record(&this.span, "dropped");
            }
        }
    }
}

/// Says so in the fields that a span may have for it.
fn record(span: &Span, error: &'static str) {
    span.record("error.type", error);
    span.record("otel.status_code", "ERROR");
}

/// Says so in them, and in the span, which is entered.
fn failed(span: &Span, level: Level, received: Instant, failure: Failure) {
    if !span.is_disabled() {
        record(span, failure.as_str());
        at_level!(event, level, latency = ?since(received), %failure, "failed");
    }
}

impl<F, T, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _in_span = this.span.enter();
        let (level, received) = (*this.level, *this.received);
        let answer = on_panic(
            || this.answer.poll(cx),
            || {
                *this.ended = true;
                failed(this.span, level, received, Failure::Panic);
            },
        );
        *this.ended = answer.is_ready();
        match &answer {
            Poll::Ready(Ok(_)) if !this.span.is_disabled() => {
                at_level!(event, level, latency = ?since(received), "answered");
            }
            Poll::Ready(Err(error)) => {
                failed(this.span, level, received, Failure::of_any(error));
            }
            _ => {}
        }
        answer
    }
}

impl<F> fmt::Debug for TraceFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceFuture")
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
