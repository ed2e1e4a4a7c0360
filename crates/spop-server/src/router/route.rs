//! One route: a handler whose type is forgotten.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use spop_codec::Actions;
use tower_service::Service;
use tracing::{debug, warn};

use crate::failure::FailurePolicy;
use crate::handler::HandlerError;
use crate::notify::Request;
use crate::request_ref::RequestRef;

/// A handler of any type, as a service: what [`Router::layer`](super::Router::layer) puts
/// its layer around. Cloning is cheap; clones are the same handler.
#[derive(Clone)]
pub struct Route(Kind);

#[derive(Clone)]
enum Kind {
    /// Answers at once, into a list that is there already: nothing is moved about.
    Now(Arc<Now>),
    Later(Arc<Later>),
}

type Now = dyn Fn(&RequestRef<'_>, &mut Actions) + Send + Sync;
type Later = dyn Fn(&RequestRef<'_>) -> RouteFuture + Send + Sync;

impl Route {
    pub(super) fn now(
        answer: impl Fn(&RequestRef<'_>, &mut Actions) + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::Now(Arc::new(answer)))
    }

    pub(super) fn later(
        answer: impl Fn(&RequestRef<'_>) -> RouteFuture + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::Later(Arc::new(answer)))
    }

    /// Whether the handler answers on the spot.
    pub(super) const fn is_quick(&self) -> bool {
        matches!(self.0, Kind::Now(_))
    }

    pub(super) fn answer(&self, request: &RequestRef<'_>) -> RouteFuture {
        match &self.0 {
            Kind::Now(answer) => {
                let mut actions = Actions::new();
                answer(request, &mut actions);
                RouteFuture::ready(actions)
            }
            Kind::Later(answer) => answer(request),
        }
    }

    /// Sets `actions` and says so, if the handler answers on the spot.
    #[inline]
    pub(super) fn answer_at_once(&self, request: &RequestRef<'_>, actions: &mut Actions) -> bool {
        match &self.0 {
            Kind::Now(answer) => {
                answer(request, actions);
                true
            }
            Kind::Later(_) => false,
        }
    }
}

impl Service<Request> for Route {
    type Response = Actions;
    type Error = Infallible;
    type Future = RouteFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> RouteFuture {
        self.answer(&request.by_ref())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// The future of a [`Route`].
#[must_use = "futures do nothing unless polled"]
pub struct RouteFuture(State);

enum State {
    Ready(Option<Actions>),
    // Boxes that a thread keeps and fills again were tried: as many instructions.
    Running(Pin<Box<dyn Future<Output = Actions> + Send>>),
}

impl RouteFuture {
    /// `actions`, at once.
    #[inline]
    pub(super) const fn ready(actions: Actions) -> Self {
        Self(State::Ready(Some(actions)))
    }

    /// What `future` will say, or `failures` if it says an error.
    pub(super) fn running<F>(future: F, failures: &Arc<Failures>) -> Self
    where
        F: Future<Output = Result<Actions, HandlerError>> + Send + 'static,
    {
        Self(State::Running(Box::pin(Answer {
            future,
            failures: Arc::clone(failures),
        })))
    }

    /// The actions, if they are there without polling.
    pub(super) fn into_ready(self) -> Result<Actions, Self> {
        match self.0 {
            State::Ready(Some(actions)) => Ok(actions),
            state => Err(Self(state)),
        }
    }
}

impl Future for RouteFuture {
    type Output = Result<Actions, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(actions) => actions
                .take()
                .map_or(Poll::Pending, |actions| Poll::Ready(Ok(actions))),
            State::Running(future) => future.as_mut().poll(cx).map(Ok),
        }
    }
}

impl fmt::Debug for RouteFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "RouteFuture::Ready",
            State::Running(_) => "RouteFuture::Running",
        })
    }
}

pin_project! {
    /// A handler's answer, or the policy's.
    struct Answer<F> {
        #[pin]
        future: F,
        failures: Arc<Failures>,
    }
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Actions, HandlerError>>,
{
    type Output = Actions;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Actions> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        Poll::Ready(this.failures.resolve(answer))
    }
}

/// What becomes of one route's errors.
pub(super) struct Failures {
    route: Box<str>,
    policy: FailurePolicy,
    warned: AtomicBool,
}

impl Failures {
    pub(super) fn new(route: &str, policy: FailurePolicy) -> Arc<Self> {
        Arc::new(Self {
            route: route.into(),
            policy,
            warned: AtomicBool::new(false),
        })
    }

    pub(super) fn resolve(&self, answer: Result<Actions, HandlerError>) -> Actions {
        answer.unwrap_or_else(|error| self.answer(&error))
    }

    #[cold]
    fn answer(&self, error: &HandlerError) -> Actions {
        let (route, failure) = (&self.route, error.failure());
        // Once: whoever can make HAProxy ask can make it happen as often as they like.
        if self.warned.swap(true, Ordering::Relaxed) {
            debug!(%route, %failure, %error, "a message is answered by policy");
        } else {
            warn!(
                %route,
                %failure,
                %error,
                "a message is answered by policy; further ones of this route at debug level"
            );
        }
        self.policy.answer(failure)
    }
}
