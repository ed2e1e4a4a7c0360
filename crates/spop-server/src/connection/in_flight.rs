//! The handlers of one connection that have not answered yet.
//!
//! Handler futures live in slots that are reused, each in a box of its own, so a NOTIFY
//! costs no allocation once the connection has seen as many at a time. Each slot has a
//! waker that marks it in a bit set: a wake-up polls the handlers that asked for it and no
//! others.

use std::future::Future;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::answers::Duty;
use super::{Place, Shared};
use crate::failure::Failure;

/// Slots that a quiet connection keeps.
const QUIET_SLOTS: usize = 4;

/// A handler is done, one way or the other.
pub(super) type Finished<T> = (Duty, Result<T, Failure>);

/// Futures in progress, each with the duty it is to fulfil.
pub(super) struct InFlight<F> {
    slots: Vec<Slot<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// No future is due before this. It may be a little early: it moves on when it is past,
    /// not with every future that ends.
    next_due: Option<Instant>,
    /// How many futures there were.
    started: u64,
    shared: Arc<Shared>,
}

struct Slot<F> {
    future: Pin<Box<Option<F>>>,
    /// Of the future: later ones have higher numbers.
    number: u64,
    /// `None`: the slot is free.
    duty: Option<Duty>,
    place: Option<Place>,
    waker: Waker,
}

impl<F: Future> InFlight<F> {
    /// Memory is taken as futures come, up to the limit of NOTIFYs in flight.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            woken: Arc::new(Woken::new(shared.config.agent.max_in_flight())),
            next_due: None,
            started: 0,
            shared,
        }
    }

    /// Polls `future` once, and keeps it if it is not ready, and if there is a place.
    pub(super) fn start(&mut self, duty: Duty, future: F) -> Option<Finished<F::Output>> {
        let received = duty.received;
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push(Slot {
                future: Box::pin(None),
                number: 0,
                duty: None,
                place: None,
                waker: self.woken.waker(index),
            });
            index
        });
        let slot = self.slots.get_mut(index)?;
        slot.future.set(Some(future));
        slot.number = self.started;
        self.started += 1;
        slot.duty = Some(duty);
        let finished = self.poll(index);
        if finished.is_some() {
            return finished;
        }
        let slot = self.slots.get_mut(index)?;
        slot.place = self.shared.wait();
        if slot.place.is_none() {
            let duty = self.release(index)?;
            return Some((duty, Err(Failure::Overload)));
        }
        if let Some(due) = self.due(received) {
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        }
        None
    }

    /// Wakes `waker` when any of the futures wants to be polled.
    pub(super) fn register(&self, waker: &Waker) {
        self.woken.owner.register(waker);
    }

    /// The slots that were woken since the last call. A handler that wakes itself while it
    /// is polled comes up in the next call, not again in this one.
    pub(super) fn woken(&self) -> impl Iterator<Item = usize> + use<F> {
        let woken = Arc::clone(&self.woken);
        (0..woken.words.len()).flat_map(move |word| woken.take(word))
    }

    /// Polls the future in a slot, if there is one.
    pub(super) fn poll(&mut self, index: usize) -> Option<Finished<F::Output>> {
        let output = self.output(index)?;
        self.release(index).map(|duty| (duty, output))
    }

    /// As [`poll`](Self::poll), but a future that has ended is still in its slot, to be
    /// released.
    fn output(&mut self, index: usize) -> Option<Result<F::Output, Failure>> {
        let slot = self.slots.get_mut(index)?;
        let future = slot.future.as_mut().as_pin_mut()?;
        let mut cx = Context::from_waker(&slot.waker);
        // Unwind safe: after a panic the future is dropped and never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(output)) => Some(Ok(output)),
            Err(_panic) => Some(Err(Failure::Panic)),
        }
    }

    /// Ends the futures that are due at `now`, and gives each to `end`.
    ///
    /// A future is polled once more before it is dropped. On a busy machine its connection may
    /// run before the runtime has looked at its timers, so that it was not woken for its own
    /// deadline; one that looks at the clock has its answer now.
    ///
    /// What one of them gives back as it ends, a place in a queue, say, must not start another
    /// that is too late as well. So all are polled before any is dropped, and, since those that
    /// wait for a place came later than those that have one, the last to come first.
    pub(super) fn expire(&mut self, now: Instant, mut end: impl FnMut(Finished<F::Output>)) {
        if self.next_due.is_none_or(|due| now < due) {
            return;
        }
        let mut overdue = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let due = slot.duty.as_ref().and_then(|duty| self.due(duty.received));
            if due.is_some_and(|due| due <= now) {
                overdue.push((slot.number, index));
            }
        }
        overdue.sort_unstable();
        let mut ended = Vec::with_capacity(overdue.len());
        for (_, index) in overdue.into_iter().rev() {
            let output = self.output(index).unwrap_or(Err(Failure::Deadline));
            ended.push((index, output));
        }
        for (index, output) in ended.into_iter().rev() {
            if let Some(duty) = self.release(index) {
                end((duty, output));
            }
        }
        let left = self.slots.iter().filter_map(|slot| slot.duty.as_ref());
        self.next_due = left.filter_map(|duty| self.due(duty.received)).min();
    }

    /// When a future is overdue, if ever.
    fn due(&self, received: Instant) -> Option<Instant> {
        received.checked_add(self.shared.config.handler_timeout)
    }

    /// When to [`expire`](Self::expire) next.
    pub(super) const fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// How many futures are in progress.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are more slots than a quiet connection needs.
    pub(super) const fn holds_memory(&self) -> bool {
        self.slots.len() > QUIET_SLOTS
    }

    /// Gives the memory of the slots back, if none is in use.
    pub(super) fn shrink(&mut self) {
        if self.len() == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }
}

impl<F> InFlight<F> {
    /// Drops all futures: their answers have no one to go to any more.
    pub(super) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            self.release(index);
        }
        self.next_due = None;
    }

    /// Frees a slot, if it is in use.
    fn release(&mut self, index: usize) -> Option<Duty> {
        let slot = self.slots.get_mut(index)?;
        let duty = slot.duty.take()?;
        slot.place = None;
        self.free.push(index);
        // A handler may panic while it is dropped, too.
        let dropped = catch_unwind(AssertUnwindSafe(|| slot.future.set(None)));
        if dropped.is_err() {
            slot.future = Box::pin(None);
        }
        Some(duty)
    }
}

/// Which slots want to be polled: a bit each.
struct Woken {
    words: Box<[AtomicU64]>,
    owner: AtomicWaker,
}

impl Woken {
    fn new(limit: usize) -> Self {
        Self {
            words: iter::repeat_with(AtomicU64::default)
                .take(limit.div_ceil(64))
                .collect(),
            owner: AtomicWaker::new(),
        }
    }

    fn waker(self: &Arc<Self>, index: usize) -> Waker {
        Waker::from(Arc::new(SlotWaker {
            woken: Arc::clone(self),
            index,
        }))
    }

    /// The marked slots of one word, unmarking them.
    fn take(&self, word: usize) -> impl Iterator<Item = usize> + use<> {
        let bits = self.words.get(word);
        let mut bits = bits.map_or(0, |bits| bits.swap(0, Ordering::AcqRel));
        iter::from_fn(move || {
            let lowest = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some(word * 64 + lowest as usize)
        })
    }
}

struct SlotWaker {
    woken: Arc<Woken>,
    index: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(word) = self.woken.words.get(self.index / 64) {
            word.fetch_or(1 << (self.index % 64), Ordering::AcqRel);
            self.woken.owner.wake();
        }
    }
}
