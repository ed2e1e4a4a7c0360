//! One NOTIFY on its way through the service: waiting for it to be ready, then for its answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use spop_codec::Actions;
use tower_service::Service;

use crate::notify::Notify;

pin_project! {
    /// A service's answer to come.
    #[project = CallState]
    pub(super) enum Call<S: Service<Notify>> {
        Waiting { service: S, notify: Option<Notify> },
        Called { #[pin] answer: S::Future },
    }
}

impl<S> Future for Call<S>
where
    S: Service<Notify, Response = Actions, Error = Infallible>,
{
    type Output = Actions;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Actions> {
        if let CallState::Waiting { service, notify } = self.as_mut().project() {
            let Ok(()) = ready!(service.poll_ready(cx));
            let Some(notify) = notify.take() else {
                return Poll::Pending; // never: it is called once, and is Called from then on
            };
            let answer = service.call(notify);
            self.set(Self::Called { answer });
        }
        match self.project() {
            CallState::Called { answer } => answer.poll(cx).map(|Ok(actions)| actions),
            CallState::Waiting { .. } => Poll::Pending, // never: see above
        }
    }
}

impl<S: Service<Notify> + Clone> Call<S> {
    /// A call of a clone of `service`.
    ///
    /// Each has its own, polled for readiness, as tower asks, and dropped after its one call.
    /// A service that is kept for the next NOTIFY could keep what it was promised, a place in
    /// the queue of a concurrency limit, say, from everybody else meanwhile.
    pub(super) fn new(service: &S, notify: Notify) -> Self {
        Self::Waiting {
            service: service.clone(),
            notify: Some(notify),
        }
    }
}
