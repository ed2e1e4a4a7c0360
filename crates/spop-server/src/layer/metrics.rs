//! The hook for metrics of one route, or of a whole stack. What it counts with is the
//! user's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tower::Layer;
use tower_service::Service;

use super::accessors;
use super::passing_panic::on_panic;
use super::received::{Received, since};
use crate::failure::Failure;

/// Tells a function of each request how it ended, and how long after it was
/// [received](Received::received).
///
/// The name it tells is the one given here, never one from the network: a label of a metric
/// made of it has as many values as the program has names.
///
/// Put it inside [`RescueLayer`](super::RescueLayer), outside what can fail. Around a
/// [`Route`](crate::Route), which answers its handler's errors itself, or outside a rescue
/// layer it finds each request answered.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use spop_server::layer::{MetricsLayer, Outcome};
///
/// let failed = Arc::new(AtomicU64::new(0));
/// let counter = Arc::clone(&failed);
/// let check_ip = MetricsLayer::new("check-ip", move |name, outcome, elapsed| {
///     if let Outcome::Failed(failure) = outcome {
///         counter.fetch_add(1, Ordering::Relaxed);
///         eprintln!("{name}: {failure} after {elapsed:?}");
///     }
/// });
/// // The same function, another name.
/// let check_port = check_ip.renamed("check-port");
/// ```
#[derive(Clone)]
pub struct MetricsLayer {
    meter: Arc<Meter>,
}

impl MetricsLayer {
    /// `name` and the function to tell. It is called where the answer is made, so it should
    /// add to a counter and return.
    pub fn new(
        name: impl Into<Box<str>>,
        hook: impl Fn(&str, Outcome, Duration) + Send + Sync + 'static,
    ) -> Self {
        Self {
            meter: Arc::new(Meter {
                name: name.into(),
                hook: Arc::new(hook),
            }),
        }
    }

    /// A layer that tells the same function another name.
    #[must_use]
    pub fn renamed(&self, name: impl Into<Box<str>>) -> Self {
        Self {
            meter: Arc::new(Meter {
                name: name.into(),
                hook: Arc::clone(&self.meter.hook),
            }),
        }
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MetricsLayer")
            .field(&self.meter.name)
            .finish()
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It failed, or panicked; a layer above answers it, or the engine does.
    Failed(Failure),
    /// Nobody waited any longer: its connection ended, or a deadline above this layer.
    Dropped,
}

impl Outcome {
    /// A word for it: `answered`, `dropped`, or [`Failure::as_str`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(failure) => failure.as_str(),
            Self::Dropped => "dropped",
        }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics {
            inner,
            meter: Arc::clone(&self.meter),
        }
    }
}

/// The service that [`MetricsLayer`] makes.
#[derive(Clone)]
pub struct Metrics<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S> Metrics<S> {
    accessors!(S);
}

impl<S: fmt::Debug> fmt::Debug for Metrics<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("inner", &self.inner)
            .field("name", &self.meter.name)
            .finish()
    }
}

impl<S, R> Service<R> for Metrics<S>
where
    S: Service<R, Error: 'static>,
    R: Received,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // First, so that a call that panics is counted.
        let mut sample = Sample {
            received: request.received(),
            outcome: Outcome::Dropped,
            meter: Arc::clone(&self.meter),
        };
        let call = || self.inner.call(request);
        let answer = on_panic(call, || sample.outcome = PANICKED);
        MetricsFuture {
            answer,
            sample: Some(sample),
        }
    }
}

type Hook = dyn Fn(&str, Outcome, Duration) + Send + Sync;

struct Meter {
    name: Box<str>,
    hook: Arc<Hook>,
}

/// The engine answers it as one.
const PANICKED: Outcome = Outcome::Failed(Failure::Panic);

/// One request, told when it is dropped.
struct Sample {
    received: Instant,
    outcome: Outcome,
    meter: Arc<Meter>,
}

impl Drop for Sample {
    fn drop(&mut self) {
        (self.meter.hook)(&self.meter.name, self.outcome, since(self.received));
    }
}

pin_project! {
    /// The future of [`Metrics`].
    #[must_use = "futures do nothing unless polled"]
    pub struct MetricsFuture<F> {
        #[pin]
        answer: F,
        // None: told.
        sample: Option<Sample>,
    }
}

impl<F, T, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut end = |outcome| {
            if let Some(mut sample) = this.sample.take() {
                sample.outcome = outcome;
            }
        };
        let answer = on_panic(|| this.answer.poll(cx), || end(PANICKED));
        if let Poll::Ready(answer) = &answer {
            end(match answer {
                Ok(_) => Outcome::Answered,
                Err(error) => Outcome::Failed(Failure::of_any(error)),
            });
        }
        answer
    }
}

impl<F> fmt::Debug for MetricsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsFuture")
    }
}
