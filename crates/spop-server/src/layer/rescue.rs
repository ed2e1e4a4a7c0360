//! Errors as answers: what makes a stack that can fail one that cannot.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use spop_codec::Actions;
use tower::{BoxError, Layer};
use tower_service::Service;
use tracing::{debug, warn};

use super::accessors;
use crate::failure::{Failure, FailurePolicy};
use crate::into_actions::IntoActions;

/// Answers in place of a service that failed: the engine and the routes take services that
/// cannot fail, and this layer makes one of any other.
///
/// Each error is logged with its text, the first of a layer as a warning, further ones at
/// debug level. Keep out of an error's text what clients send.
///
/// ```
/// use std::time::Duration;
///
/// use spop_server::layer::RescueLayer;
/// use spop_server::{Actions, Failure, FailurePolicy, Router, Scope};
/// use tower::ServiceBuilder;
///
/// let policy = FailurePolicy::from_fn(|failure| {
///     Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
/// });
/// let service = ServiceBuilder::new()
///     .layer(RescueLayer::new(policy))
///     .load_shed()
///     .concurrency_limit(1000)
///     .timeout(Duration::from_millis(8))
///     .service(Router::<()>::new());
/// ```
#[derive(Debug, Clone)]
pub struct RescueLayer {
    rescuer: Arc<Rescuer>,
}

impl RescueLayer {
    /// Answers an error with what `policy` says for [the failure it is](Failure::of).
    pub fn new(policy: FailurePolicy) -> Self {
        Self::with(move |error| policy.answer(Failure::of(error.as_ref())))
    }

    /// Answers an error with what `answer` makes of it, which must not block.
    ///
    /// ```
    /// use spop_server::layer::RescueLayer;
    /// use spop_server::{Actions, Scope};
    ///
    /// let layer = RescueLayer::with(|error| {
    ///     let full = error.is::<tower::load_shed::error::Overloaded>();
    ///     Actions::new().set_var(Scope::Transaction, "full", full)
    /// });
    /// ```
    pub fn with(answer: impl Fn(BoxError) -> Actions + Send + Sync + 'static) -> Self {
        Self {
            rescuer: Arc::new(Rescuer {
                answer: Box::new(answer),
                warned: AtomicBool::new(false),
            }),
        }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue {
            inner,
            rescuer: Arc::clone(&self.rescuer),
            broken: None,
        }
    }
}

/// The service that [`RescueLayer`] makes.
#[derive(Debug)]
pub struct Rescue<S> {
    inner: S,
    rescuer: Arc<Rescuer>,
    /// Why `inner` is not going to be ready: the answer to the next call.
    broken: Option<BoxError>,
}

impl<S> Rescue<S> {
    accessors!(S);
}

// By hand: readiness belongs to one instance, and so does the lack of it.
impl<S: Clone> Clone for Rescue<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            rescuer: Arc::clone(&self.rescuer),
            broken: None,
        }
    }
}

impl<S, R> Service<R> for Rescue<S>
where
    S: Service<R, Response: IntoActions, Error: Into<BoxError>>,
{
    type Response = Actions;
    type Error = Infallible;
    type Future = RescueFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx).map(|ready| {
            self.broken = ready.err().map(Into::into);
            Ok(())
        })
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = match self.broken.take() {
            None => State::Running {
                answer: self.inner.call(request),
            },
            Some(error) => State::Broken { error: Some(error) },
        };
        RescueFuture {
            state,
            rescuer: Arc::clone(&self.rescuer),
        }
    }
}

struct Rescuer {
    answer: Box<dyn Fn(BoxError) -> Actions + Send + Sync>,
    warned: AtomicBool,
}

impl Rescuer {
    #[cold]
    fn answer(&self, error: BoxError) -> Actions {
        let failure = Failure::of(error.as_ref());
        // Once: whoever can make HAProxy ask can make it happen as often as they like.
        if self.warned.swap(true, Ordering::Relaxed) {
            debug!(%failure, error, "a request is answered by a rescue layer");
        } else {
            warn!(
                %failure,
                error,
                "a request is answered by a rescue layer; further ones at debug level"
            );
        }
        (self.answer)(error)
    }
}

impl fmt::Debug for Rescuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rescuer")
    }
}

pin_project! {
    /// The future of [`Rescue`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RescueFuture<F> {
        #[pin]
        state: State<F>,
        rescuer: Arc<Rescuer>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F> {
        Running { #[pin] answer: F },
        Broken { error: Option<BoxError> },
    }
}

impl<F, T, E> Future for RescueFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: IntoActions,
    E: Into<BoxError>,
{
    type Output = Result<Actions, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.state.project() {
            StateProject::Running { answer } => match answer.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(answer)) => answer.into_actions().map_err(Into::into),
                Poll::Ready(Err(error)) => Err(error.into()),
            },
            StateProject::Broken { error } => match error.take() {
                Some(error) => Err(error),
                None => return Poll::Pending, // polled again after it was ready
            },
        };
        Poll::Ready(Ok(answer.unwrap_or_else(|error| this.rescuer.answer(error))))
    }
}

impl<F> fmt::Debug for RescueFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Running { .. } => "RescueFuture::Running",
            State::Broken { .. } => "RescueFuture::Broken",
        })
    }
}
