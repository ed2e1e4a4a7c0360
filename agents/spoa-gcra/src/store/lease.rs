//! Leases: a tower layer that asks the store for several requests of a busy client at once
//! and answers the next ones itself, where a policy says so ([`Lease`]).
//!
//! ```text
//!                  asks for L, is granted k ≤ L              asks for L again
//!  check  ──┬──────────┬───┬──┬───┬────────┬─────────────────────┬────────▶ our monotonic clock
//!           │          │   ▼  ▼   ▼        ▼                     │
//!           │          │   answered here, k − 1 of them          │
//!           ▼          ▼◀───────────── ttl T ────────────▶       ▼
//!  store   one         k                  then what is unspent   k
//!                                         is lost
//! ```
//!
//! A client's first request is asked about by itself, like one that comes T or more after the
//! last. The next one takes a lease: the store decides L equal requests in one go, as if one
//! came right after the other, and says how many pass. The first of them is the request at
//! hand, the others are *tokens*. While there is one, a request spends it without asking.
//! Tokens are good until T after the lease was *sent* for; then, or when all are spent, the
//! next lease is taken. So of n requests of a busy client, about n / L reach the store.
//!
//! # What it costs
//!
//! The server charges a lease when it grants it, and its tokens may be spent a little later,
//! or never. An agent has one lease of a client at a time (for each policy), so that no more
//! than L − 1 tokens are ever charged and unspent, be they here or on their way. With A
//! agents, a policy whose requests cost 1, and `interval` and `burst` of any of its limits,
//! this holds in every time w, however the requests come:
//!
//! | | |
//! |---|---|
//! | admitted × interval ≤ burst + w + **A × (L − 1) × interval** | What was charged before may come on top of the burst. The sustained rate is never exceeded. |
//! | admitted ≥ granted − **A × (L − 1) × (1 + (w + way) / T)** | Of what the server grants, each agent loses the tokens of one lease every T at most, and has those of another still to spend. `way` is the longest that a check takes to the server. |
//!
//! Without leases both bold terms are 0; where requests cost c, they are c times that. While
//! one agent holds tokens, another may deny. So **leases are for policies that can bear it:**
//! limits of 50 a second and more, with clients that are busy.
//!
//! * L ≤ limit / (4 × A) keeps the first term to a quarter of the burst.
//!   [`Policy::with_lease`](crate::policy::Policy::with_lease) does not know A, and accepts
//!   L ≤ limit / 4.
//! * T ≥ A × L / rate, for a client that sends at `rate` to A agents alike: then leases are
//!   spent before they are over, and hardly anything is lost. With a shorter T, `rate` and the
//!   A × (L − 1) / T that is lost must both fit into the limit.
//! * A client that sends more than its limit allows gets its tokens one by one, with leases as
//!   without: nothing is saved then. The denial cache is for that.
//!
//! # What is decided, and why
//!
//! * **What is leased:** single requests of the policy's cost. All others are asked about.
//!   Questions (cost 0) are answered by the server, where leased is as good as spent.
//! * **One lease at a time.** What comes while it is on its way is asked about by itself,
//!   rather than made to wait: nobody's answer then depends on another's, and where it counts,
//!   under load, the store sends equal checks of a batch as one anyway.
//! * **A lease whose answer is lost**, because the store failed or the asker went away, may
//!   have been charged. There is no other until T after it was sent for, and if its answer
//!   comes later than that, its tokens are not spent.
//! * **Tokens come first**, also when the server would deny by now: they are paid for. So this
//!   layer belongs around the [denial cache](super::denial_cache), not inside it. Until T, they
//!   also outlast a server that does not answer.
//! * **The numbers** with a request that is answered here are what the server would say if it
//!   had granted the requests one by one as they came, and nobody else had asked since; they
//!   are about the limit that its last verdict was about. So unspent tokens count as
//!   `remaining`, which in the server's own answers they do not.
//! * **Memory:** a fixed number of places. Tokens, and leases on their way, keep theirs until
//!   their time is over; clients that have none make way for others. Who finds no place is
//!   asked about, each time.

mod table;
mod terms;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use self::table::{Next, Table};
pub use self::terms::{Lease, LeaseError, MAX_TTL, MIN_TTL};
use super::{Check, Verdict};

/// The most clients that a layer can be asked to keep leases of. About 1.5 GB when all are
/// in use.
pub const MAX_CLIENTS: usize = 1 << 24;

/// Puts leases in front of a store. Clones, and the services they make, share them.
#[derive(Debug, Clone)]
pub struct LeaseLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Table,
    started: Instant,
}

impl LeaseLayer {
    /// Leases of `clients` at a time, brought into `1..=`[`MAX_CLIENTS`] and rounded up to a
    /// multiple of 8. 4 bytes a client are taken at once, 84 when all are in use. Clients
    /// whose policy has no lease take no place.
    pub fn new(clients: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: Table::new(clients.clamp(1, MAX_CLIENTS)),
                started: Instant::now(),
            }),
        }
    }

    /// The counts of this layer and of every service it made.
    pub fn stats(&self) -> LeaseStats {
        LeaseStats {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> Layer<S> for LeaseLayer {
    type Service = Leases<S>;

    fn layer(&self, inner: S) -> Leases<S> {
        Leases {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The service of [`LeaseLayer`]. What it answers itself has the source
/// [`Lease`](super::Source::Lease) and is there at the first poll; all else, errors included,
/// is the inner store's answer.
#[derive(Debug, Clone)]
pub struct Leases<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Check> for Leases<S>
where
    S: Service<Check, Response = Verdict>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = LeaseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, check: Check) -> LeaseFuture<S::Future> {
        let lease = check.policy.lease.filter(|_| Lease::covers(&check));
        let Some(lease) = lease else {
            let future = self.inner.call(check);
            return LeaseFuture::of(Answer::Asked { future });
        };
        // Before the store is called: tokens are good for T from here.
        let now = self.shared.now();
        LeaseFuture::of(match self.shared.table.next(&check, lease, now) {
            Next::Spent(verdict) => Answer::Spent { verdict },
            Next::Ask => Answer::Asked {
                future: self.inner.call(check),
            },
            Next::AskForLease => Answer::AskedForLease {
                future: self.inner.call(Check {
                    count: lease.tokens(),
                    ..check.clone()
                }),
                check,
                lease,
                sent: now,
                shared: Arc::clone(&self.shared),
            },
        })
    }
}

pin_project! {
    /// The future of [`Leases`].
    #[must_use = "futures do nothing unless polled"]
    pub struct LeaseFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Spent { verdict: Verdict },
        Asked {
            #[pin]
            future: F,
        },
        AskedForLease {
            #[pin]
            future: F,
            check: Check,
            lease: Lease,
            // ns since the start
            sent: u64,
            shared: Arc<Shared>,
        },
    }
}

impl<F> LeaseFuture<F> {
    fn of(answer: Answer<F>) -> Self {
        Self { answer }
    }
}

impl<F, E> Future for LeaseFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjection::Spent { verdict } => Poll::Ready(Ok(*verdict)),
            AnswerProjection::Asked { future } => future.poll(cx),
            AnswerProjection::AskedForLease {
                future,
                check,
                lease,
                sent,
                shared,
            } => Poll::Ready(ready!(future.poll(cx)).map(|verdict| {
                shared.table.take(check, *lease, *sent, &verdict);
                Verdict {
                    granted: verdict.granted.min(check.count),
                    ..verdict
                }
            })),
        }
    }
}

impl<F> fmt::Debug for LeaseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseFuture")
            .field("spent", &matches!(self.answer, Answer::Spent { .. }))
            .finish_non_exhaustive()
    }
}

/// What a layer's leases have come to since the start. Clones share the counts.
///
/// [`granted`](Self::granted) less [`spent`](Self::spent) and [`expired`](Self::expired) is
/// what is held now.
#[derive(Debug, Clone)]
pub struct LeaseStats {
    shared: Arc<Shared>,
}

impl LeaseStats {
    /// Leases taken: answers that brought tokens.
    pub fn taken(&self) -> u64 {
        self.shared.table.taken.load(Ordering::Relaxed)
    }

    /// Tokens that they brought, without the requests that asked for them.
    pub fn granted(&self) -> u64 {
        self.shared.table.granted.load(Ordering::Relaxed)
    }

    /// Tokens spent: requests that were answered without asking the store.
    pub fn spent(&self) -> u64 {
        self.shared.table.spent.load(Ordering::Relaxed)
    }

    /// Tokens lost, as found out so far: when the client comes again or another takes its
    /// place. Without those of leases whose answer never came. More than a few of what was
    /// [`granted`](Self::granted): T is too short for the traffic, or L too large.
    pub fn expired(&self) -> u64 {
        self.shared.table.expired.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// ns since the start, for 584 years.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
