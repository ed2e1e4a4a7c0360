//! A cache of denials in front of a store: a tower layer that answers for the store where
//! the answer is known, so that one client's flood does not become Valkey's.
//!
//! A client's theoretical arrival time (TAT) never goes back while it matters. So a server
//! that is out of budget for a client is so for a known time, and until then every further
//! check of that client can be denied without asking, whatever it costs:
//!
//! ```text
//!   sent           denied here                    asked again
//!  ──┼───────────────────────────────────────────────┼─────────────▶ our monotonic clock
//!    ◀─────── reset_after + increment − burst ───────▶
//!  ─────┼───────────────────────────────────────────────┼──────────▶ the server's clock
//!    decided                                        would admit
//! ```
//!
//! * **Never what the server would admit.** Time counts from when a check was handed to the
//!   store, which is before the server decided it: denials here end at or before the
//!   server's own. No wall clock is read, and the two clocks are never compared.
//! * **Never less than the limit.** Nothing is admitted here. What is not certain is asked.
//! * **The numbers** with a denial are the server's, moved on to this moment. What it has
//!   admitted since to other agents, for a smaller cost, is not in them yet.
//! * **If the server forgets** (deletion, eviction, a failover, its clock set forward), a
//!   client may be denied on its old word for at most one increment, and 1 s at most.
//! * **Several limits.** Each is known by itself, and one that is certain to deny is enough.
//!   What is known under one quota says nothing under another.
//! * **Memory.** A fixed number of places; who loses one is asked about again.
//!
//! A check that needs no budget (cost 0), a failed one and one whose asker has gone away
//! leave nothing behind.

mod table;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use self::table::Table;
use super::{Check, Verdict};

/// The most entries that a cache can be asked to have. About 1 GB when full.
pub const MAX_ENTRIES: usize = 1 << 24;

/// Puts a denial cache around a store. Clones, and the services they make, share it.
#[derive(Debug, Clone)]
pub struct DenialCacheLayer {
    cache: Arc<Cache>,
}

#[derive(Debug)]
struct Cache {
    table: Table,
    started: Instant,
    hits: AtomicU64,
}

impl DenialCacheLayer {
    /// A cache of `entries` denied clients, brought into `1..=`[`MAX_ENTRIES`] and rounded
    /// up to a multiple of 8. 4 bytes an entry are taken at once, 60 when all are in use.
    pub fn new(entries: usize) -> Self {
        Self {
            cache: Arc::new(Cache {
                table: Table::new(entries.clamp(1, MAX_ENTRIES)),
                started: Instant::now(),
                hits: AtomicU64::new(0),
            }),
        }
    }

    /// The counts of this layer and of every service it made.
    pub fn stats(&self) -> DenialCacheStats {
        DenialCacheStats {
            cache: Arc::clone(&self.cache),
        }
    }
}

impl<S> Layer<S> for DenialCacheLayer {
    type Service = DenialCache<S>;

    fn layer(&self, inner: S) -> DenialCache<S> {
        DenialCache {
            inner,
            cache: Arc::clone(&self.cache),
        }
    }
}

/// The service of [`DenialCacheLayer`]. Its own denials have the source [`Cache`](super::Source::Cache)
/// and are there at the first poll; all else, errors included, is the inner store's answer.
#[derive(Debug, Clone)]
pub struct DenialCache<S> {
    inner: S,
    cache: Arc<Cache>,
}

impl<S> Service<Check> for DenialCache<S>
where
    S: Service<Check, Response = Verdict>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = DenialCacheFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, check: Check) -> DenialCacheFuture<S::Future> {
        // Before the store is called: see `Table::learn`.
        let now = self.cache.now();
        let denial = self.cache.table.denial(&check, now);
        let answer = match denial {
            Some(verdict) => {
                self.cache.hits.fetch_add(1, Ordering::Relaxed);
                Answer::Cached { verdict }
            }
            None => Answer::Asked {
                future: self.inner.call(check.clone()),
                check,
                sent: now,
                cache: Arc::clone(&self.cache),
            },
        };
        DenialCacheFuture { answer }
    }
}

pin_project! {
    /// The future of [`DenialCache`].
    #[must_use = "futures do nothing unless polled"]
    pub struct DenialCacheFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Cached { verdict: Verdict },
        Asked {
            #[pin]
            future: F,
            check: Check,
            // ns since the cache's start
            sent: u64,
            cache: Arc<Cache>,
        },
    }
}

impl<F, E> Future for DenialCacheFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjection::Cached { verdict } => Poll::Ready(Ok(*verdict)),
            AnswerProjection::Asked {
                future,
                check,
                sent,
                cache,
            } => {
                let answer = ready!(future.poll(cx));
                if let Ok(verdict) = &answer {
                    cache.table.learn(check, *sent, verdict);
                }
                Poll::Ready(answer)
            }
        }
    }
}

impl<F> fmt::Debug for DenialCacheFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenialCacheFuture")
            .field("cached", &matches!(self.answer, Answer::Cached { .. }))
            .finish_non_exhaustive()
    }
}

/// What a denial cache has done since the start. Clones share the counts.
#[derive(Debug, Clone)]
pub struct DenialCacheStats {
    cache: Arc<Cache>,
}

impl DenialCacheStats {
    /// Checks denied here: questions that the store was spared.
    pub fn hits(&self) -> u64 {
        self.cache.hits.load(Ordering::Relaxed)
    }

    /// Times that a client under a limit was given a place, because it had run out of budget.
    pub fn learnt(&self) -> u64 {
        self.cache.table.learnt.load(Ordering::Relaxed)
    }

    /// Times that one lost its place to another while it would still have been denied. More
    /// than a few of what was [`learnt`](Self::learnt): there are too few places for the traffic.
    pub fn evictions(&self) -> u64 {
        self.cache.table.evictions.load(Ordering::Relaxed)
    }
}

impl Cache {
    /// ns since the start, for 584 years.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
