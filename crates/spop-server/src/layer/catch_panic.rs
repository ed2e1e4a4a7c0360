//! Panics as errors.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::{BoxError, Layer};
use tower_service::Service;

use super::accessors;
use crate::failure::Failure;

/// Makes a request fail with [`Failure::Panic`] when its handler panics, in the call or
/// later.
///
/// The engine outlives panics by itself, but a NOTIFY whose handler panicked is answered as
/// one. Around a route this layer saves the answers of the NOTIFY's other messages, and lets
/// the layers above count, log and answer a panic as they do an error.
///
/// What a panic says, the process's panic hook says: by default on standard error.
///
/// ```
/// use spop_server::layer::{CatchPanicLayer, RescueLayer};
/// use spop_server::{Actions, FailurePolicy, Request, Router, Scope};
/// use tower::ServiceBuilder;
///
/// async fn check(request: Request) -> Actions {
///     let port = request.arg("port").to_u64().expect("HAProxy always sends it");
///     Actions::new().set_var(Scope::Session, "ip_score", u64::from(port != 443))
/// }
///
/// let denied = Actions::new().set_var(Scope::Session, "ip_score", 100);
/// let router: Router = Router::new().message("check-ip", check).layer(
///     ServiceBuilder::new()
///         .layer(RescueLayer::new(FailurePolicy::actions(denied)))
///         .layer(CatchPanicLayer::new()),
/// );
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CatchPanicLayer;

impl CatchPanicLayer {
    /// There is nothing to set.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic::new(inner)
    }
}

/// The service that [`CatchPanicLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    /// `inner` is called again after it panicked: what it shares between calls must be able
    /// to take that, as what is behind a [`Mutex`](std::sync::Mutex) is.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }

    accessors!(S);
}

impl<S, R> Service<R> for CatchPanic<S>
where
    S: Service<R, Error: Into<BoxError>>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        CatchPanicFuture {
            answer: catch_unwind(AssertUnwindSafe(|| self.inner.call(request))).ok(),
        }
    }
}

pin_project! {
    /// The future of [`CatchPanic`].
    #[must_use = "futures do nothing unless polled"]
    pub struct CatchPanicFuture<F> {
        // None: it panicked.
        #[pin]
        answer: Option<F>,
    }
}

impl<F, T, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(answer) = this.answer.as_mut().as_pin_mut() {
            // Unwind safe: after a panic the future is dropped and never polled again.
            match catch_unwind(AssertUnwindSafe(|| answer.poll(cx))) {
                Ok(answer) => return answer.map_err(Into::into),
                // It may panic again while it is dropped.
                Err(_panic) => drop(catch_unwind(AssertUnwindSafe(|| this.answer.set(None)))),
            }
        }
        Poll::Ready(Err(Failure::Panic.into()))
    }
}

impl<F> fmt::Debug for CatchPanicFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.answer {
            Some(_) => "CatchPanicFuture::Running",
            None => "CatchPanicFuture::Panicked",
        })
    }
}
