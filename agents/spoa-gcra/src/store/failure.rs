//! What happens when the store does not answer in time: a tower layer that turns a store
//! which can fail or stall into one that always answers.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::memory::MemoryStore;
use super::{Check, Rooms, Source, Verdict};
use crate::policy::MAX_LIMITS;

/// The store counts as back once it answers and nothing has failed for this long: 1 s.
/// Without such a pause, a cluster with one dead primary would be reported lost and found
/// again with every request.
const QUIET_MICROS: u64 = 1_000_000;

/// Why a store gives no answer.
pub trait NoVerdict: fmt::Display {
    /// Whether it had too little time, and nothing else was wrong.
    fn is_late(&self) -> bool;
}

/// What to answer in the store's place. The text form is the value of `SPOA_FAILURE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailurePolicy {
    /// The in-memory store takes over, each agent with the whole limit.
    #[default]
    Local,
    /// Every request is allowed.
    Open,
    /// Every request is denied, to be retried after one emission interval.
    Closed,
}

/// A text that is no [`FailurePolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of local, open, closed")]
pub struct UnknownPolicy;

impl FromStr for FailurePolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "local" => Ok(Self::Local),
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err(UnknownPolicy),
        }
    }
}

impl fmt::Display for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        })
    }
}

/// Puts the [`FailurePolicy`] of each check around a store.
#[derive(Debug, Clone)]
pub struct FailureLayer {
    shared: Arc<Shared>,
}

impl FailureLayer {
    /// A layer that waits for the store until the check's deadline, and for `budget` at
    /// most, then answers by the check's policy. `memory` is asked only under
    /// [`FailurePolicy::Local`].
    pub fn new(memory: MemoryStore, budget: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                memory,
                budget,
                started: Instant::now(),
                last_failure: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                timeouts: AtomicU64::new(0),
                over: AtomicU64::new(0),
            }),
        }
    }

    /// The counts of this layer and of every service it made.
    pub fn stats(&self) -> FailureStats {
        FailureStats {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> Layer<S> for FailureLayer {
    type Service = FailureService<S>;

    fn layer(&self, inner: S) -> FailureService<S> {
        FailureService {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A store that always answers: the inner one, or the policy in its place.
///
/// It is ready at all times. Whether the inner store is, is found out by each call, on a
/// clone and within the call's own deadline: a store that is busy for a moment still
/// decides, and one that stays busy is answered for like one that does not answer. When
/// the policy answers, the inner call is dropped first.
#[derive(Debug, Clone)]
pub struct FailureService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Check> for FailureService<S>
where
    S: Service<Check, Response = Verdict> + Clone,
    S::Error: NoVerdict,
{
    type Response = Verdict;
    type Error = Infallible;
    type Future = FailureFuture<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, check: Check) -> FailureFuture<S> {
        FailureFuture {
            inner: Some(Oneshot::new(self.inner.clone(), check.clone())),
            timer: None,
            check,
            shared: Arc::clone(&self.shared),
        }
    }
}

pin_project! {
    /// The answer of a [`FailureService`]. Needs a tokio runtime with time, unless the
    /// inner store answers at the first poll.
    #[must_use = "futures do nothing unless polled"]
    pub struct FailureFuture<S>
    where
        S: Service<Check>,
    {
        // None once answered.
        #[pin]
        inner: Option<Oneshot<S, Check>>,
        // Made when the inner store is first found to keep us waiting: answers that need
        // no wait need no timer.
        #[pin]
        timer: Option<Sleep>,
        check: Check,
        shared: Arc<Shared>,
    }
}

impl<S> Future for FailureFuture<S>
where
    S: Service<Check, Response = Verdict>,
    S::Error: NoVerdict,
{
    type Output = Result<Verdict, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Pending; // already answered; there is nothing more to come
        };
        let failure = match inner.poll(cx) {
            Poll::Ready(Ok(verdict)) => {
                this.inner.set(None);
                // What is known without the store says nothing of it.
                if !matches!(verdict.source, Source::Cache | Source::Lease) {
                    this.shared.answered();
                }
                return Poll::Ready(Ok(verdict));
            }
            Poll::Ready(Err(error)) => Failure::Error(error),
            Poll::Pending => {
                let now = Instant::now();
                if this.timer.is_none() {
                    let due = this.shared.due(this.check, now);
                    this.timer.set(Some(sleep_until(due)));
                }
                // Not left to the timer: on a busy machine the engine may find the request
                // overdue, and poll this for the last time, before tokio has looked at it.
                if let Some(timer) = this.timer.as_mut().as_pin_mut()
                    && now < timer.deadline()
                {
                    ready!(timer.poll(cx));
                }
                Failure::Late(this.shared.budget)
            }
        };
        this.inner.set(None);
        this.shared.failed(&failure, this.check.policy.failure);
        Poll::Ready(Ok(this.shared.answer(this.check)))
    }
}

impl<S: Service<Check>> fmt::Debug for FailureFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureFuture")
            .field("check", &self.check)
            .field("answered", &self.inner.is_none())
            .finish_non_exhaustive()
    }
}

/// How often the policy had to answer, since the start. Clones share the counts.
#[derive(Debug, Clone)]
pub struct FailureStats {
    shared: Arc<Shared>,
}

impl FailureStats {
    /// Checks answered by the policy.
    pub fn fallbacks(&self) -> u64 {
        self.errors() + self.timeouts()
    }

    /// Those of them where the store reported an error, or was not asked.
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Those of them where the store had not answered in time, whoever noticed.
    pub fn timeouts(&self) -> u64 {
        self.shared.timeouts.load(Ordering::Relaxed)
    }

    /// Whether the store counts as failing: from the first fallback until it answers a
    /// check after a second without any.
    pub fn is_falling_back(&self) -> bool {
        self.shared.last_failure.load(Ordering::Relaxed) != 0
    }
}

#[derive(Debug)]
struct Shared {
    memory: MemoryStore,
    budget: Duration,
    started: Instant,
    /// µs since `started`. 0: the store answers.
    last_failure: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    /// How many of both were over when the store last answered again.
    over: AtomicU64,
}

enum Failure<E> {
    Error(E),
    Late(Duration),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Late(budget) => write!(f, "no answer within {budget:?}"),
        }
    }
}

impl Shared {
    fn due(&self, check: &Check, now: Instant) -> Instant {
        let deadline = Instant::from_std(check.deadline);
        match now.checked_add(self.budget) {
            Some(due) => due.min(deadline),
            None => deadline,
        }
    }

    fn answer(&self, check: &Check) -> Verdict {
        // The most room there is, so that this costs nothing; or the least, as if the client
        // had just spent all of it.
        let (cost, room) = match check.policy.failure {
            FailurePolicy::Local => {
                return Verdict {
                    source: Source::Fallback,
                    ..self.memory.decide(check)
                };
            }
            FailurePolicy::Open => (0, i64::MAX),
            FailurePolicy::Closed => (1, i64::MIN),
        };
        let asked = Check {
            cost,
            ..check.clone()
        };
        Rooms::new([room; MAX_LIMITS]).verdict(&asked, 0, Source::Fallback)
    }

    fn failed<E: NoVerdict>(&self, failure: &Failure<E>, policy: FailurePolicy) {
        match failure {
            // Which of the two says first that it is late is chance.
            Failure::Error(error) if !error.is_late() => &self.errors,
            Failure::Error(_) | Failure::Late(_) => &self.timeouts,
        }
        .fetch_add(1, Ordering::Relaxed);
        if self.last_failure.swap(self.micros(), Ordering::Relaxed) == 0 {
            tracing::warn!(
                reason = %failure,
                %policy,
                "the store does not answer; answering by the failure policy"
            );
        }
    }

    fn answered(&self) {
        let last = self.last_failure.load(Ordering::Relaxed);
        if last == 0 || self.micros().saturating_sub(last) < QUIET_MICROS {
            return;
        }
        // Of many answers at once, one reports; a failure in between keeps the state.
        let found =
            self.last_failure
                .compare_exchange(last, 0, Ordering::Relaxed, Ordering::Relaxed);
        if found.is_ok() {
            let all = self.errors.load(Ordering::Relaxed) + self.timeouts.load(Ordering::Relaxed);
            let fallbacks = all.saturating_sub(self.over.swap(all, Ordering::Relaxed));
            // As loud as the beginning. No end is lost to the limit on warnings: there is a
            // second before each, and so no more of them than are shown.
            tracing::warn!(fallbacks, "the store answers again");
        }
    }

    /// µs since `started`, never 0.
    fn micros(&self) -> u64 {
        let micros = self.started.elapsed().as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests;
