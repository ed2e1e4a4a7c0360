//! Routes while the router is put together.

use std::sync::Arc;

use futures_util::FutureExt;
use tower::BoxError;
use tower::util::ServiceExt;
use tower_service::Service;

use super::route::{Failures, Route, RouteFuture};
use super::table::Table;
use crate::failure::FailurePolicy;
use crate::handler::{Handler, HandlerError};
use crate::into_actions::IntoActions;
use crate::notify::Request;
use crate::request_ref::RequestRef;

/// What a router was told so far.
pub(super) struct Routes<S> {
    pub(super) named: Vec<Entry<S>>,
    /// By prefix: that of the router they were nested with.
    pub(super) fallbacks: Vec<Entry<S>>,
    pub(super) policy: Option<FailurePolicy>,
}

/// A route to be. State and policy come last, so it is a function of both.
pub(super) struct Entry<S> {
    pub(super) name: Box<str>,
    pub(super) policy: Option<FailurePolicy>,
    pub(super) make: Make<S>,
}

pub(super) type Make<S> = Arc<dyn Fn(&S, &Arc<Failures>) -> Route + Send + Sync>;

impl<S> Routes<S> {
    /// The same routes, each made in another way.
    pub(super) fn map<S2>(self, wrap: impl Fn(Make<S>) -> Make<S2>) -> Routes<S2> {
        let wrap = |entry: Entry<S>| Entry {
            name: entry.name,
            policy: entry.policy,
            make: wrap(entry.make),
        };
        Routes {
            named: self.named.into_iter().map(wrap).collect(),
            fallbacks: self.fallbacks.into_iter().map(wrap).collect(),
            policy: self.policy,
        }
    }

    /// Adds `other`'s routes, with `prefix` before their names and with its policy.
    pub(super) fn nest(&mut self, prefix: &str, other: Self) {
        let policy = other.policy;
        let nested = |entry: Entry<S>| Entry {
            name: format!("{prefix}{}", entry.name).into(),
            policy: entry.policy.or_else(|| policy.clone()),
            make: entry.make,
        };
        for entry in other.named {
            put(&mut self.named, nested(entry));
        }
        for entry in other.fallbacks {
            put(&mut self.fallbacks, nested(entry));
        }
    }

    /// The services.
    pub(super) fn build(&self, state: &S) -> Table {
        let build = |entry: &Entry<S>| {
            let policy = entry.policy.as_ref().or(self.policy.as_ref());
            let failures = Failures::new(&entry.name, policy.cloned().unwrap_or_default());
            (entry.name.clone(), (entry.make)(state, &failures))
        };
        Table::new(
            self.named.iter().map(build),
            self.fallbacks.iter().map(build),
        )
    }
}

/// Adds `entry`, in place of the one of its name.
pub(super) fn put<S>(entries: &mut Vec<Entry<S>>, entry: Entry<S>) {
    entries.retain(|other| other.name != entry.name);
    entries.push(entry);
}

impl<S: Clone + Send + Sync + 'static> Entry<S> {
    pub(super) fn handler<H, T>(name: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
    {
        let handler = Arc::new(handler);
        Self::new(name, move |state: &S, failures| {
            let (handler, state) = (Arc::clone(&handler), state.clone());
            let failures = Arc::clone(failures);
            Route::later(move |request| {
                RouteFuture::running(handler.call(request, &state), &failures)
            })
        })
    }

    pub(super) fn borrowing<H, R>(name: &str, handler: H) -> Self
    where
        H: Fn(&RequestRef<'_>) -> R + Send + Sync + 'static,
        R: IntoActions,
    {
        let handler = Arc::new(handler);
        Self::new(name, move |_, failures| {
            let (handler, failures) = (Arc::clone(&handler), Arc::clone(failures));
            Route::now(move |request, actions| {
                *actions = failures.resolve(handler(request).into_actions());
            })
        })
    }

    pub(super) fn service<T>(name: &str, service: T) -> Self
    where
        T: Service<Request, Response: IntoActions, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self::new(name, move |_, failures| {
            of_service(service.clone(), failures)
        })
    }

    fn new(name: &str, make: impl Fn(&S, &Arc<Failures>) -> Route + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            policy: None,
            make: Arc::new(make),
        }
    }
}

/// A service as a route.
pub(super) fn of_service<T>(service: T, failures: &Arc<Failures>) -> Route
where
    T: Service<Request, Response: IntoActions, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let failures = Arc::clone(failures);
    Route::later(move |request| {
        let answer = service.clone().oneshot(request.to_request());
        let answer = answer.map(|answer| answer.map_err(HandlerError::new)?.into_actions());
        RouteFuture::running(answer, &failures)
    })
}

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Self {
            named: Vec::new(),
            fallbacks: Vec::new(),
            policy: None,
        }
    }
}

// By hand, since `S` need not be `Clone`.
impl<S> Clone for Routes<S> {
    fn clone(&self) -> Self {
        Self {
            named: self.named.clone(),
            fallbacks: self.fallbacks.clone(),
            policy: self.policy.clone(),
        }
    }
}

impl<S> Clone for Entry<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            policy: self.policy.clone(),
            make: Arc::clone(&self.make),
        }
    }
}
