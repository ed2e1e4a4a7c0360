//! The messages that HAProxy sends: arguments to a [`Check`], the [`Verdict`] to variables.
//!
//! | argument | sample fetch | |
//! |---|---|---|
//! | `ip_src` | `src` | the other end of the client's connection |
//! | `ip_xff` | `req.fhdr(x-forwarded-for)` | text, or one address |
//! | `ip_fwd` | `req.fhdr(forwarded)` | text, or one address |
//! | `policy` | `str(login)` | in `check-rate` only: the policy to apply, `default` without |
//! | `cost` | `int(5)` | what the request spends, the policy's `cost` without; 0 only asks |
//!
//! Without a usable `ip_src` there is no client to limit: no variable is set, and HAProxy's
//! rules see none. Nor is one in answer to a message that no policy claims.

mod arguments;
mod constants;
mod headers;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pin_project_lite::pin_project;
use spop_server::{Actions, Request, Scope};
use tower_layer::Layer;
use tower_service::Service;
use tracing::debug;

use self::arguments::Arguments;
pub(crate) use self::constants::Constants;
use crate::gcra::Decision;
use crate::identity::Identity;
use crate::policy::{Listed, Outcome, Policies, Policy};
use crate::store::{Check, Client, Source, Verdict};
use crate::top::Top;

/// The message whose argument `policy` says which policy applies. Others are answered by the
/// policy that claims them.
pub const MESSAGE: &str = "check-rate";

/// The value of `ip_score` that HAProxy is meant to deny.
const DENIED: i32 = 100;

/// Puts the messages around a store.
#[derive(Debug, Clone)]
pub struct CheckRateLayer {
    rule: Arc<Rule>,
}

#[derive(Debug)]
struct Rule {
    identity: Identity,
    policies: Arc<ArcSwap<Policies>>,
    budget: Duration,
    top: Top,
}

impl CheckRateLayer {
    /// Limits each client that `identity` finds as the policies say that are in force when
    /// its request comes. The store gets `budget` to answer, counted from when the NOTIFY was
    /// read. `top` is told of those that a limit denies.
    pub fn new(
        identity: Identity,
        policies: Arc<ArcSwap<Policies>>,
        budget: Duration,
        top: Top,
    ) -> Self {
        Self {
            rule: Arc::new(Rule {
                identity,
                policies,
                budget,
                top,
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
        let answer = match self.rule.apply(&request) {
            None => Answer::Nothing,
            Some((policy, Ruling::Known(verdict))) => Answer::Known { policy, verdict },
            Some((policy, Ruling::Ask(check))) => Answer::Asked {
                client: check.client,
                verdict: self.store.call(check),
                policy,
                received: request.received(),
                top: self.rule.top.clone(),
            },
        };
        CheckRateFuture { answer }
    }
}

enum Ruling {
    /// No store has to be asked.
    Known(Verdict),
    Ask(Check),
}

impl Rule {
    /// Which policy applies to a request, and what is to be asked. `None`: nobody's message,
    /// or nobody's request.
    fn apply(&self, request: &Request) -> Option<(Arc<Policy>, Ruling)> {
        let arguments = Arguments::read(request);
        let policies = self.policies.load();
        let message = request.name();
        let policy = if message == *MESSAGE {
            policies.by_name(arguments.policy)
        } else {
            policies.by_message(message.as_bytes())?
        };
        let address = self.identity.address(&arguments.evidence)?;
        let ruling = match policy.networks.find(address) {
            Some(listed) => Ruling::Known(unasked(listed == Listed::Allow, Source::List)),
            None if policy.limits().is_empty() => Ruling::Known(unasked(true, Source::Unlimited)),
            None => Ruling::Ask(Check {
                client: self.identity.group(address),
                policy: Arc::clone(policy),
                cost: arguments.cost.unwrap_or(policy.cost),
                count: 1,
                deadline: request.received() + self.budget,
            }),
        };
        Some((Arc::clone(policy), ruling))
    }
}

/// A verdict that no limit has a part in.
fn unasked(allowed: bool, source: Source) -> Verdict {
    Verdict {
        decision: Decision {
            allowed,
            ..Decision::UNLIMITED
        },
        limit: 0,
        granted: allowed.into(),
        source,
    }
}

pin_project! {
    /// The future of [`CheckRate`].
    #[must_use = "futures do nothing unless polled"]
    pub struct CheckRateFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Nothing,
        Known { policy: Arc<Policy>, verdict: Verdict },
        Asked {
            #[pin]
            verdict: F,
            policy: Arc<Policy>,
            client: Client,
            received: Instant,
            top: Top,
        },
    }
}

impl<F: Future<Output = Result<Verdict, Infallible>>> Future for CheckRateFuture<F> {
    type Output = Result<Actions, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (policy, verdict) = match self.project().answer.project() {
            AnswerProjection::Nothing => return Poll::Ready(Ok(Actions::new())),
            AnswerProjection::Known { policy, verdict } => (policy, *verdict),
            AnswerProjection::Asked {
                verdict,
                policy,
                client,
                received,
                top,
            } => {
                let Ok(verdict) = ready!(verdict.poll(cx));
                if !verdict.decision.allowed {
                    top.denied(*client, policy, *received);
                }
                (policy, verdict)
            }
        };
        let outcome = Outcome::of(&verdict, policy.shadow);
        policy.decisions.count(&verdict, outcome);
        let remaining = (!is_unasked(verdict.source)).then_some(verdict.decision.remaining);
        debug!(
            name: "decision",
            target: "spoa_gcra::decision",
            allowed = verdict.decision.allowed,
            remaining,
            source = verdict.source.as_str(),
            policy = &*policy.name,
            shadow = policy.shadow,
            "decision",
        );
        Poll::Ready(Ok(actions(policy, &verdict)))
    }
}

impl<F> fmt::Debug for CheckRateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match &self.answer {
            Answer::Nothing => None,
            Answer::Known { policy, .. } | Answer::Asked { policy, .. } => Some(&policy.name),
        };
        f.debug_struct("CheckRateFuture")
            .field("policy", &policy)
            .finish_non_exhaustive()
    }
}

/// What HAProxy is told.
fn actions(policy: &Policy, verdict: &Verdict) -> Actions {
    let decision = &verdict.decision;
    let mut actions = Constants::of(policy, verdict);
    if is_unasked(verdict.source) {
        return actions;
    }
    actions = actions
        .set_var(Scope::Transaction, "limit", decision.limit)
        .set_var(Scope::Transaction, "remaining", decision.remaining)
        .set_var(
            Scope::Transaction,
            "reset_after",
            headers::seconds(decision.reset_after),
        );
    // None: it never would pass.
    if !decision.allowed
        && let Some(wait) = decision.retry_after
    {
        let wait = headers::seconds(wait).max(1);
        actions = actions.set_var(Scope::Transaction, "retry_after", wait);
    }
    if policy.shadow {
        return actions;
    }
    let ratelimit = headers::ratelimit(policy, verdict);
    actions.set_var(Scope::Transaction, "ratelimit", ratelimit.as_str())
}

/// Whether no limit had a part in it, so that there are no numbers.
fn is_unasked(source: Source) -> bool {
    matches!(source, Source::List | Source::Unlimited)
}

#[cfg(test)]
mod tests;
