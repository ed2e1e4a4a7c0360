//! A limit of requests at once, which refuses what is beyond and lets nothing wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Layer};
use tower_service::Service;

use super::accessors;
use crate::failure::Failure;

/// Lets at most so many requests run at once; one beyond fails with [`Failure::Overload`] at
/// once. All services that one layer and its clones make share the limit: it is for all
/// connections, and around several routes for these together.
///
/// tower's `load_shed` around its `concurrency_limit` does the same for a service that
/// is cloned for each call, as a route is. For a service that is kept between calls it does
/// not: when it sheds, its place in the limit's queue stays, and gets a permit that nobody
/// uses until the next call. This layer has no queue.
///
/// ```
/// use spop_server::layer::{InFlightLimitLayer, RescueLayer};
/// use spop_server::{FailurePolicy, Router};
/// use tower::ServiceBuilder;
///
/// let service = ServiceBuilder::new()
///     .layer(RescueLayer::new(FailurePolicy::empty()))
///     .layer(InFlightLimitLayer::new(1000))
///     .service(Router::<()>::new());
/// ```
#[derive(Debug, Clone)]
pub struct InFlightLimitLayer {
    places: Arc<Semaphore>,
}

impl InFlightLimitLayer {
    /// At most `limit` at once; zero refuses each request.
    pub fn new(limit: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
        }
    }
}

impl<S> Layer<S> for InFlightLimitLayer {
    type Service = InFlightLimit<S>;

    fn layer(&self, inner: S) -> InFlightLimit<S> {
        InFlightLimit {
            inner,
            places: Arc::clone(&self.places),
        }
    }
}

/// The service that [`InFlightLimitLayer`] makes.
#[derive(Debug, Clone)]
pub struct InFlightLimit<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> InFlightLimit<S> {
    accessors!(S);
}

impl<S, R> Service<R> for InFlightLimit<S>
where
    S: Service<R, Error: Into<BoxError>> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = InFlightLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let running = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(Running {
                answer: self.inner.call(request),
                _place: place,
            }),
            Err(_none_left) => {
                // It was made ready for a call that does not come: what it reserved for
                // that goes with it.
                self.inner = self.inner.clone();
                None
            }
        };
        InFlightLimitFuture { running }
    }
}

pin_project! {
    /// The future of [`InFlightLimit`].
    #[must_use = "futures do nothing unless polled"]
    pub struct InFlightLimitFuture<F> {
        // None: refused.
        #[pin]
        running: Option<Running<F>>,
    }
}

pin_project! {
    struct Running<F> {
        #[pin]
        answer: F,
        _place: OwnedSemaphorePermit,
    }
}

impl<F, T, E> Future for InFlightLimitFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().running.as_pin_mut() {
            Some(running) => running.project().answer.poll(cx).map_err(Into::into),
            None => Poll::Ready(Err(Failure::Overload.into())),
        }
    }
}

impl<F> fmt::Debug for InFlightLimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.running {
            Some(_) => "InFlightLimitFuture::Running",
            None => "InFlightLimitFuture::Refused",
        })
    }
}
