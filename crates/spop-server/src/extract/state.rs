//! The router's state as an argument.

use std::convert::Infallible;

use super::FromRequest;
use crate::request_ref::RequestRef;

/// What the router was given by [`with_state`](crate::Router::with_state), or a part of it.
/// Cloned for each message, so what is large stands behind an `Arc`.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use spop_server::{Router, State};
///
/// async fn count(State(count): State<Arc<AtomicU64>>) {
///     count.fetch_add(1, Ordering::Relaxed);
/// }
///
/// let router = Router::new()
///     .message("count", count)
///     .with_state(Arc::new(AtomicU64::new(0)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: FromRef<S>, S> FromRequest<S> for State<T> {
    type Rejection = Infallible;

    fn from_request(_: &RequestRef<'_>, state: &S) -> Result<Self, Infallible> {
        Ok(Self(T::from_ref(state)))
    }
}

/// A part of a larger state. The whole, if it is `Clone`, is one.
///
/// ```
/// use spop_server::{FromRef, Router, State};
///
/// #[derive(Clone)]
/// struct App {
///     limit: u32,
///     name: &'static str,
/// }
///
/// #[derive(Clone, Copy)]
/// struct Limit(u32);
///
/// impl FromRef<App> for Limit {
///     fn from_ref(app: &App) -> Self {
///         Self(app.limit)
///     }
/// }
///
/// async fn check(State(Limit(limit)): State<Limit>, State(app): State<App>) {
///     assert_eq!(limit, app.limit);
/// }
///
/// let router = Router::new()
///     .message("check", check)
///     .with_state(App { limit: 20, name: "edge" });
/// ```
pub trait FromRef<S> {
    /// The part of `state`.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}
