//! One NOTIFY on its way through the service: waiting for it to be ready, then for its answer.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use spop_codec::Actions;
use tower_service::Service;

use crate::notify::Notify;
use crate::router::Router;

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

/// Begins to ask `service`: sets `actions`, if they are there at once, or gives the call to
/// wait for. May panic as the service may.
///
/// Each call gets a clone of its own, polled for readiness, as tower asks, and dropped after
/// its one call. A service that is kept for the next NOTIFY could keep what it was promised,
/// a place in the queue of a concurrency limit, say, from everybody else meanwhile.
#[inline]
pub(super) fn call<S>(service: &S, notify: Notify, actions: &mut Actions) -> Option<Call<S>>
where
    S: Service<Notify> + Clone + 'static,
{
    // A router is always ready, and if its handlers answer at once, there need be no future,
    // and no slot for it: a quarter of what such a NOTIFY costs.
    if let Some(router) = (service as &dyn Any).downcast_ref::<Router>() {
        let answer = router.answer(&notify, actions)?;
        if let Some(answer) = same_type(answer) {
            return Some(Call::Called { answer });
        }
    }
    Some(Call::Waiting {
        service: service.clone(),
        notify: Some(notify),
    })
}

/// `value`, if its type has two names.
fn same_type<T: 'static, U: 'static>(value: T) -> Option<U> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any)
        .downcast_mut::<Option<U>>()
        .and_then(Option::take)
}
