//! One route: a handler whose type is forgotten.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use spop_codec::Actions;
use tower::util::ServiceExt;
use tower_service::Service;

use crate::into_actions::IntoActions;
use crate::notify::Request;

type BoxFuture = Pin<Box<dyn Future<Output = Actions> + Send>>;

/// A handler of any type, behind one pointer.
#[derive(Clone)]
pub struct Route(Arc<dyn Fn(Request) -> BoxFuture + Send + Sync>);

impl Route {
    pub(super) fn from_fn<H, F>(handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output: IntoActions> + Send + 'static,
    {
        Self(Arc::new(move |request| {
            let answer = handler(request);
            Box::pin(async move { answer.await.into_actions() })
        }))
    }

    pub(super) fn from_service<S>(service: S) -> Self
    where
        S: Service<Request, Response: IntoActions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(move |request| {
            let answer = service.clone().oneshot(request);
            Box::pin(async move {
                let Ok(actions) = answer.await;
                actions.into_actions()
            })
        }))
    }

    pub(super) fn call(&self, request: Request) -> RouteFuture {
        RouteFuture(Some((self.0)(request)))
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// The answer of one route, or of none.
pub(super) struct RouteFuture(Option<BoxFuture>);

impl RouteFuture {
    /// No actions, at once.
    pub(super) const fn none() -> Self {
        Self(None)
    }
}

impl Future for RouteFuture {
    type Output = Actions;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Actions> {
        match &mut self.0 {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Ready(Actions::new()),
        }
    }
}
