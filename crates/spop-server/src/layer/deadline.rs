//! A time budget that starts when the request was read.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{BoxError, Layer};
use tower_service::Service;

use super::Received;
use super::accessors;
use crate::failure::Failure;

/// Puts a time budget on requests, counted from [`Received::received`]: what a request lost
/// in the read buffer or in a queue is not given to its handler on top.
///
/// A request whose time is over fails with [`Failure::Deadline`]. One that is late before its
/// handler was polled does not start it. A handler that is done when its time is over is
/// heard.
///
/// Unlike [`tower::timeout`] there is no timer for a handler that is ready at once, and each
/// poll looks at the clock. On a busy machine tokio may get round to its timers only after the
/// engine has found the request overdue ([`Config::with_handler_timeout`]). The engine polls it
/// once more then: a deadline of this layer answers, one of `tower::timeout` may not.
///
/// [`Config::with_handler_timeout`]: crate::Config::with_handler_timeout
///
/// ```
/// use std::time::Duration;
///
/// use spop_server::layer::{DeadlineLayer, RescueLayer};
/// use spop_server::{Actions, FailurePolicy, Request, Router};
/// use tower::{BoxError, ServiceBuilder, service_fn};
///
/// async fn check(request: Request) -> Result<Actions, BoxError> {
///     tokio::time::sleep(Duration::from_millis(20)).await;
///     Ok(Actions::new())
/// }
///
/// let stack = ServiceBuilder::new()
///     .layer(RescueLayer::new(FailurePolicy::empty()))
///     .layer(DeadlineLayer::new(Duration::from_millis(8)))
///     .service(service_fn(check));
/// let router: Router = Router::new().message_service("check", stack);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer {
    budget: Duration,
}

impl DeadlineLayer {
    /// Any `budget`; zero fails each request, and one that reaches beyond what the clock can
    /// count fails none. The engine's own limit,
    /// [`Config::with_handler_timeout`](crate::Config::with_handler_timeout), counts from the
    /// same moment: a layer's should be shorter.
    pub const fn new(budget: Duration) -> Self {
        Self { budget }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline::new(inner, self.budget)
    }
}

/// The service that [`DeadlineLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Deadline<S> {
    inner: S,
    budget: Duration,
}

impl<S> Deadline<S> {
    /// See [`DeadlineLayer::new`].
    pub const fn new(inner: S, budget: Duration) -> Self {
        Self { inner, budget }
    }

    accessors!(S);
}

impl<S, R> Service<R> for Deadline<S>
where
    S: Service<R, Error: Into<BoxError>>,
    R: Received,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let received = Instant::from_std(request.received());
        DeadlineFuture {
            // Called even if it is too late: whatever the service reserved when it became
            // ready goes with this future.
            answer: self.inner.call(request),
            due: received.checked_add(self.budget),
            clock: Clock::Unread,
        }
    }
}

pin_project! {
    /// The future of [`Deadline`].
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineFuture<F> {
        #[pin]
        answer: F,
        due: Option<Instant>,
        clock: Clock,
    }
}

enum Clock {
    Unread,
    InTime,
    // Boxed: most futures end without one, and all are moved.
    Set(Pin<Box<Sleep>>),
}

impl<F, T, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if matches!(this.clock, Clock::Unread) {
            if this.due.is_some_and(|due| due <= Instant::now()) {
                return Poll::Ready(Err(Failure::Deadline.into()));
            }
            *this.clock = Clock::InTime;
        }
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            return Poll::Ready(answer.map_err(Into::into));
        }
        let Some(due) = *this.due else {
            return Poll::Pending;
        };
        // Not left to the timer: this may be the last poll, and tokio not have looked at it yet.
        if due <= Instant::now() {
            return Poll::Ready(Err(Failure::Deadline.into()));
        }
        if !matches!(this.clock, Clock::Set(_)) {
            *this.clock = Clock::Set(Box::pin(sleep_until(due)));
        }
        match this.clock {
            Clock::Set(timer) => timer
                .as_mut()
                .poll(cx)
                .map(|()| Err(Failure::Deadline.into())),
            Clock::Unread | Clock::InTime => Poll::Pending, // never: it was set just now
        }
    }
}

impl<F> fmt::Debug for DeadlineFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineFuture")
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}
