//! The message `check-rate`: arguments to a [`Check`], the [`Verdict`] to variables.
//!
//! | argument | sample fetch | |
//! |---|---|---|
//! | `ip_src` | `src` | the other end of the client's connection |
//! | `ip_xff` | `req.fhdr(x-forwarded-for)` | text, or one address |
//! | `ip_fwd` | `req.fhdr(forwarded)` | text, or one address |
//!
//! Without a usable `ip_src` there is no client to limit: no variable is set, and HAProxy's
//! rules see none.

mod headers;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use spop_server::{Actions, Request, Scope, TypedData};
use tower_layer::Layer;
use tower_service::Service;
use tracing::debug;

use crate::identity::{Evidence, Header, Identity, address};
use crate::policy::Policy;
use crate::store::{Check, Verdict};

/// The message's name.
pub const MESSAGE: &str = "check-rate";

/// The value of `ip_score` that HAProxy is meant to deny.
const DENIED: i32 = 100;

/// Puts the message around a store.
#[derive(Debug, Clone)]
pub struct CheckRateLayer {
    rule: Arc<Rule>,
}

#[derive(Debug)]
struct Rule {
    identity: Identity,
    policy: Arc<Policy>,
    budget: Duration,
}

impl CheckRateLayer {
    /// Limits each client that `identity` finds as `policy` says. The store gets `budget` to
    /// answer, counted from when the NOTIFY was read.
    pub fn new(identity: Identity, policy: Arc<Policy>, budget: Duration) -> Self {
        Self {
            rule: Arc::new(Rule {
                identity,
                policy,
                budget,
            }),
        }
    }
}

impl<S> Layer<S> for CheckRateLayer {
    type Service = CheckRate<S>;

    fn layer(&self, store: S) -> CheckRate<S> {
        CheckRate {
            store,
            rule: Arc::clone(&self.rule),
        }
    }
}

/// The service of [`CheckRateLayer`].
#[derive(Debug, Clone)]
pub struct CheckRate<S> {
    store: S,
    rule: Arc<Rule>,
}

impl<S> Service<Request> for CheckRate<S>
where
    S: Service<Check, Response = Verdict, Error = Infallible>,
{
    type Response = Actions;
    type Error = Infallible;
    type Future = CheckRateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.store.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> CheckRateFuture<S::Future> {
        let rule = &self.rule;
        let check = rule
            .identity
            .client(&evidence(&request))
            .map(|client| Check {
                client,
                policy: Arc::clone(&rule.policy),
                cost: 1,
                count: 1,
                deadline: request.received() + rule.budget,
            });
        CheckRateFuture {
            verdict: check.map(|check| self.store.call(check)),
            policy: Arc::clone(&rule.policy),
        }
    }
}

pin_project! {
    /// The future of [`CheckRate`].
    #[must_use = "futures do nothing unless polled"]
    pub struct CheckRateFuture<F> {
        // None: there is no client to ask about.
        #[pin]
        verdict: Option<F>,
        policy: Arc<Policy>,
    }
}

impl<F: Future<Output = Result<Verdict, Infallible>>> Future for CheckRateFuture<F> {
    type Output = Result<Actions, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(verdict) = this.verdict.as_pin_mut() else {
            return Poll::Ready(Ok(Actions::new()));
        };
        let Ok(verdict) = ready!(verdict.poll(cx));
        debug!(
            target: "spoa_gcra::decision",
            allowed = verdict.decision.allowed,
            remaining = verdict.decision.remaining,
            source = verdict.source.as_str(),
            policy = &*this.policy.name,
        );
        Poll::Ready(Ok(actions(this.policy, &verdict)))
    }
}

impl<F> fmt::Debug for CheckRateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRateFuture")
            .field("policy", &self.policy.name)
            .finish_non_exhaustive()
    }
}

fn evidence(request: &Request) -> Evidence<'_> {
    let mut evidence = Evidence::default();
    for arg in request.args() {
        match arg.name.as_bytes() {
            b"ip_fwd" => evidence.forwarded = header(arg.value),
            b"ip_xff" => evidence.x_forwarded_for = header(arg.value),
            // HAProxy sends an address; text serves tests by hand.
            b"ip_src" => {
                evidence.source = arg.value.to_ip().or_else(|| address(arg.value.to_bytes()?));
            }
            _ => {}
        }
    }
    evidence
}

fn header(value: TypedData<'_>) -> Option<Header<'_>> {
    match value.to_ip() {
        Some(ip) => Some(Header::Address(ip)),
        None => value.to_bytes().map(Header::Text),
    }
}

/// What HAProxy is told. `ip_score` comes in both scopes: `sess` as in the first designs of
/// this agent, `txn` because a session's value outlives an answer that is missing.
fn actions(policy: &Policy, verdict: &Verdict) -> Actions {
    let Verdict {
        decision, source, ..
    } = verdict;
    let score = if decision.allowed { 0 } else { DENIED };
    let mut actions = Actions::new()
        .set_var(Scope::Session, "ip_score", score)
        .set_var(Scope::Transaction, "ip_score", score)
        .set_var(Scope::Transaction, "allowed", decision.allowed)
        .set_var(Scope::Transaction, "limit", decision.limit)
        .set_var(Scope::Transaction, "remaining", decision.remaining)
        .set_var(
            Scope::Transaction,
            "reset_after",
            headers::seconds(decision.reset_after),
        );
    if let Some(wait) = retry_after(verdict) {
        actions = actions.set_var(Scope::Transaction, "retry_after", wait);
    }
    actions
        .set_var(Scope::Transaction, "policy", &*policy.name)
        .set_var(Scope::Transaction, "source", source.as_str())
        .set_var(
            Scope::Transaction,
            "ratelimit",
            headers::ratelimit(policy, verdict).as_str(),
        )
        .set_var(
            Scope::Transaction,
            "ratelimit_policy",
            headers::ratelimit_policy(policy).as_str(),
        )
}

/// Whole seconds until the request would pass: 0 if it does, 1 or more if it will. `None`:
/// it never will.
fn retry_after(verdict: &Verdict) -> Option<u64> {
    if verdict.decision.allowed {
        return Some(0);
    }
    let wait = verdict.decision.retry_after?;
    Some(headers::seconds(wait).max(1))
}

#[cfg(test)]
mod tests;
