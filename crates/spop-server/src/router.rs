//! Messages to handlers, by name.

mod future;
mod route;
mod routes;
mod table;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use spop_codec::{Actions, Messages};
use tower::{BoxError, Layer};
use tower_service::Service;

use crate::failure::FailurePolicy;
use crate::handler::Handler;
use crate::into_actions::IntoActions;
use crate::notify::{Arrival, Notify, Request};
use crate::request_ref::RequestRef;
pub use future::RouterFuture;
use route::Failures;
pub use route::{Route, RouteFuture};
use routes::{Entry, Routes, of_service, put};
use table::Table;

/// A service that hands each message of a NOTIFY to the route of its name and joins the
/// actions in message order. Messages of one NOTIFY run at the same time.
///
/// ```
/// use std::sync::Arc;
///
/// use spop_server::{Actions, FailurePolicy, Request, Router, Scope, State};
///
/// struct Limits {
///     port: u16,
/// }
///
/// async fn check(
///     request: Request,
///     State(limits): State<Arc<Limits>>,
/// ) -> Result<Actions, &'static str> {
///     let port = request.arg("port").to_u64().ok_or("no port")?;
///     let score = if port == u64::from(limits.port) { 0 } else { 100 };
///     Ok(Actions::new().set_var(Scope::Session, "ip_score", score))
/// }
///
/// let router = Router::new()
///     .message("check-port", check)
///     .message_ref("check-ip", |request| {
///         let inside = request.arg("ip_src").to_ip().is_some_and(|ip| ip.is_loopback());
///         Actions::new().set_var(Scope::Session, "inside", inside)
///     })
///     .failure_policy(FailurePolicy::from_fn(|failure| {
///         Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
///     }))
///     .with_state(Arc::new(Limits { port: 443 }));
/// ```
///
/// * `S` is the state that the handlers still need; a router is a service once that is
///   `()`, which [`with_state`](Self::with_state) makes it.
/// * A name has one route. Whatever adds a second replaces the first, be it
///   [`message`](Self::message) or [`merge`](Self::merge).
/// * A message without a route gets the [`fallback`](Self::fallback), by default no actions
///   and one warning for the whole router: HAProxy must not wait for a name that is misspelt.
///
/// Cloning is cheap; clones share their routes.
pub struct Router<S = ()> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    routes: Routes<S>,
    /// The same as services, from the first NOTIFY on.
    table: OnceLock<Table>,
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without routes.
    pub fn new() -> Self {
        Self::from(Routes::default())
    }

    /// Answers messages called `name` with an async function whose arguments come
    /// [`FromRequest`](crate::FromRequest).
    ///
    /// Its future costs no task and one allocation. Where a handler has nothing to wait for,
    /// and even that counts, there is [`message_ref`](Self::message_ref).
    #[must_use]
    pub fn message<H, T>(self, name: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
    {
        self.add(Entry::handler(name, handler))
    }

    /// Answers messages called `name` with a function that must not block. It reads the
    /// message where the socket's bytes are: no allocation, no future, no reference counted.
    #[must_use]
    pub fn message_ref<H, R>(self, name: &str, handler: H) -> Self
    where
        H: Fn(&RequestRef<'_>) -> R + Send + Sync + 'static,
        R: IntoActions,
    {
        self.add(Entry::borrowing(name, handler))
    }

    /// Answers messages called `name` with a service, or a stack of layers around one. It is
    /// cloned for each message, and the clone is waited for to be ready.
    ///
    /// What its errors become the [`failure_policy`](Self::failure_policy) says, as with
    /// handlers: a deadline that tower's timeout missed is [`Failure::Deadline`](crate::Failure::Deadline), what it shed
    /// [`Failure::Overload`](crate::Failure::Overload). A [`RescueLayer`](crate::layer::RescueLayer) around it can make
    /// actions of them before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use spop_server::{Actions, Request, Router};
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// let check = ServiceBuilder::new()
    ///     .timeout(Duration::from_millis(8))
    ///     .service(service_fn(async |_: Request| Ok::<_, std::io::Error>(Actions::new())));
    /// let router: Router = Router::new().message_service("check-ip", check);
    /// ```
    #[must_use]
    pub fn message_service<T>(self, name: &str, service: T) -> Self
    where
        T: Service<Request, Response: IntoActions, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.add(Entry::service(name, service))
    }

    /// Answers messages that no route is named after. The fallback of a router that is
    /// [nested](Self::nest) answers those that begin with its prefix.
    #[must_use]
    pub fn fallback<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
    {
        self.change(|routes| put(&mut routes.fallbacks, Entry::handler("", handler)))
    }

    /// Adds all routes of `other`, and its fallback if it has one. Of two routes with one
    /// name `other`'s stays.
    ///
    /// Routes of `other` keep its [`failure_policy`](Self::failure_policy); if it has none,
    /// they get this router's.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.nest("", other)
    }

    /// [Merges](Self::merge) `other` with `prefix` before each of its names: its route
    /// `charge` answers messages called `billing-charge` if nested with `billing-`. Handlers
    /// see the name as HAProxy sent it.
    #[must_use]
    pub fn nest(self, prefix: &str, other: Self) -> Self {
        let other = other.into_routes();
        self.change(|routes| routes.nest(prefix, other))
    }

    /// Puts a layer around each route there is so far, fallbacks included. Routes that are
    /// added later do not get it, nor do messages without a route; a layer around the whole
    /// router gets every NOTIFY.
    ///
    /// The layer is applied to each route by itself: a limit of concurrency, say, is then one
    /// for each. Around it, a route made by [`message_ref`](Self::message_ref) costs what one
    /// made by [`message_service`](Self::message_service) does.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Send + Sync + 'static,
        L::Service: Service<Request, Response: IntoActions, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let layer = Arc::new(layer);
        Self::from(self.into_routes().map(|make| {
            let layer = Arc::clone(&layer);
            Arc::new(move |state: &S, failures: &Arc<Failures>| {
                of_service(layer.layer(make(state, failures)), failures)
            })
        }))
    }

    /// What a message gets whose handler returned an error
    /// ([`Failure::Error`](crate::Failure::Error)), or whose arguments were not what it takes
    /// ([`Failure::Rejected`](crate::Failure::Rejected)); default: no actions. It counts for
    /// every route of the router, added before or after.
    ///
    /// The other failures are the engine's
    /// ([`Config::with_failure_policy`](crate::Config::with_failure_policy)).
    #[must_use]
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        self.change(|routes| routes.policy = Some(policy))
    }

    /// Gives the handlers their state, and makes the router a service.
    #[must_use]
    pub fn with_state(self, state: S) -> Router {
        Router::from(self.into_routes().map(|make| {
            let state = state.clone();
            Arc::new(move |&(): &(), failures: &Arc<Failures>| make(&state, failures))
        }))
    }

    fn add(self, entry: Entry<S>) -> Self {
        self.change(|routes| put(&mut routes.named, entry))
    }

    fn change(self, change: impl FnOnce(&mut Routes<S>)) -> Self {
        let mut routes = self.into_routes();
        change(&mut routes);
        Self::from(routes)
    }
}

impl<S> Router<S> {
    fn into_routes(self) -> Routes<S> {
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => inner.routes,
            Err(shared) => shared.routes.clone(),
        }
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
        let table = self.table();
        let answer = |message| {
            let request = RequestRef::of_notify(&notify, message);
            table.answer(&request)
        };
        let mut messages = notify.messages();
        match (messages.next(), messages.next()) {
            (Some(only), None) => RouterFuture::one(answer(only)),
            _ => RouterFuture::join(notify.messages().map(answer)),
        }
    }
}

impl Router {
    /// Sets `actions` and says so, if the NOTIFY has one message, and its handler answers on
    /// the spot.
    #[inline]
    pub(crate) fn answer_at_once(
        &self,
        mut messages: Messages<'_>,
        arrival: &Arrival,
        actions: &mut Actions,
    ) -> bool {
        let (Some(only), None) = (messages.next(), messages.next()) else {
            return false;
        };
        self.table()
            .answer_at_once(&RequestRef::in_place(only, arrival), actions)
    }

    /// Whether any handler answers on the spot.
    #[inline]
    pub(crate) fn is_quick(&self) -> bool {
        self.table().is_quick()
    }

    fn table(&self) -> &Table {
        let inner = &*self.inner;
        inner.table.get_or_init(|| inner.routes.build(&()))
    }
}

impl<S> From<Routes<S>> for Router<S> {
    fn from(routes: Routes<S>) -> Self {
        Self {
            inner: Arc::new(Inner {
                routes,
                table: OnceLock::new(),
            }),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

// By hand, since `S` need not be `Clone`.
impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.inner.routes.named.iter();
        f.debug_set()
            .entries(named.map(|route| &route.name))
            .finish()
    }
}
