//! Messages to handlers, by name.

mod route;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::future::{JoinAll, join_all};
use spop_codec::Actions;
use tower_service::Service;
use tracing::warn;

use crate::into_actions::IntoActions;
use crate::notify::{Notify, Request};
pub use route::Route;
use route::RouteFuture;

/// A service that hands each message of a NOTIFY to the route of its name and joins the
/// actions in message order. Messages of one NOTIFY run at the same time.
///
/// A message without a route gets the [`fallback`](Self::fallback), by default no actions
/// and one warning for the whole router: HAProxy must not wait for a name that is misspelt.
///
/// Cloning is cheap; clones share their routes.
#[derive(Clone, Default)]
pub struct Router {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    routes: HashMap<Box<[u8]>, Route>,
    fallback: Option<Route>,
    warned: AtomicBool,
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers messages called `name` with an async function. A second route of the same
    /// name replaces the first.
    #[must_use]
    pub fn message<H, F>(self, name: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output: IntoActions> + Send + 'static,
    {
        self.route(name, Route::from_fn(handler))
    }

    /// Answers messages called `name` with a service, or a stack of layers around one. It is
    /// cloned for each message, and the clone is waited for to be ready.
    #[must_use]
    pub fn message_service<S>(self, name: &str, service: S) -> Self
    where
        S: Service<Request, Response: IntoActions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.route(name, Route::from_service(service))
    }

    /// Answers messages that no route is named after.
    #[must_use]
    pub fn fallback<H, F>(self, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output: IntoActions> + Send + 'static,
    {
        self.change(|inner| inner.fallback = Some(Route::from_fn(handler)))
    }

    fn route(self, name: &str, route: Route) -> Self {
        self.change(|inner| {
            inner.routes.insert(name.as_bytes().into(), route);
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.inner).unwrap_or_else(|shared| Inner {
            routes: shared.routes.clone(),
            fallback: shared.fallback.clone(),
            warned: AtomicBool::new(false),
        });
        change(&mut inner);
        self.inner = Arc::new(inner);
        self
    }

    fn start(&self, notify: &Notify, message: &spop_codec::Message<'_>) -> RouteFuture {
        let name = message.name().as_bytes();
        match self.inner.routes.get(name).or(self.inner.fallback.as_ref()) {
            Some(route) => route.call(notify.request(message)),
            None => {
                if !self.inner.warned.swap(true, Ordering::Relaxed) {
                    warn!(
                        message = %message.name(),
                        "no route for a message; it is answered without actions, and further \
                         ones silently"
                    );
                }
                RouteFuture::none()
            }
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .inner
            .routes
            .keys()
            .map(|name| name.escape_ascii().to_string());
        f.debug_set().entries(names).finish()
    }
}

impl Service<Notify> for Router {
    type Response = Actions;
    type Error = Infallible;
    type Future = RouterFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, notify: Notify) -> RouterFuture {
        let mut messages = notify.messages();
        let state = match (messages.next(), messages.next()) {
            (None, _) => State::One(RouteFuture::none()),
            (Some(only), None) => State::One(self.start(&notify, &only)),
            (Some(_), Some(_)) => State::Many(join_all(
                notify
                    .messages()
                    .map(|message| self.start(&notify, &message)),
            )),
        };
        RouterFuture { state }
    }
}

/// The future of [`Router`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct RouterFuture {
    state: State,
}

enum State {
    One(RouteFuture),
    Many(JoinAll<RouteFuture>),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Many(_) => "Many",
        })
    }
}

impl Future for RouterFuture {
    type Output = Result<Actions, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::One(future) => Pin::new(future).poll(cx).map(Ok),
            State::Many(futures) => Pin::new(futures).poll(cx).map(|answers| {
                let mut all = Actions::new();
                for actions in &answers {
                    all.append(actions);
                }
                Ok(all)
            }),
        }
    }
}
