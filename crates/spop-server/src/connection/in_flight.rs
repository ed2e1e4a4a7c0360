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
use spop_codec::AckTicket;
use tokio::time::Instant;

/// A handler is done, by panic if there is no output.
pub(super) type Finished<T> = (AckTicket, Option<T>);

/// Futures in progress, each with the ticket it is to answer.
pub(super) struct InFlight<F: Future> {
    slots: Vec<Slot<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
}

struct Slot<F> {
    future: Pin<Box<Option<F>>>,
    /// The duty to answer, and when it is due. `None`: the slot is free.
    pending: Option<(AckTicket, Instant)>,
    waker: Waker,
}

impl<F: Future> InFlight<F> {
    /// For up to `limit` futures at once. Memory is taken as they come.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            woken: Arc::new(Woken::new(limit)),
        }
    }

    /// Polls `future` once, and keeps it if it is not ready.
    pub(super) fn start(
        &mut self,
        ticket: AckTicket,
        future: F,
        due: Instant,
    ) -> Option<Finished<F::Output>> {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push(Slot {
                future: Box::pin(None),
                pending: None,
                waker: self.woken.waker(index),
            });
            index
        });
        let slot = self.slots.get_mut(index)?;
        slot.future.set(Some(future));
        slot.pending = Some((ticket, due));
        self.poll(index)
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
        let slot = self.slots.get_mut(index)?;
        let future = slot.future.as_mut().as_pin_mut()?;
        let mut cx = Context::from_waker(&slot.waker);
        // Unwind safe: after a panic the future is dropped and never polled again.
        let output = match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(output)) => Some(output),
            Err(_panic) => None,
        };
        self.release(index).map(|ticket| (ticket, output))
    }

    /// Drops a future that is due at `now`, and gives its ticket.
    pub(super) fn expire(&mut self, now: Instant) -> Option<AckTicket> {
        let is_due = |slot: &Slot<F>| slot.pending.as_ref().is_some_and(|(_, due)| *due <= now);
        let index = self.slots.iter().position(is_due)?;
        self.release(index)
    }

    /// When the first future in progress is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let pending = self.slots.iter().filter_map(|slot| slot.pending.as_ref());
        pending.map(|(_, due)| *due).min()
    }

    /// How many futures are in progress.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Drops all futures: their answers have no one to go to any more.
    pub(super) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            self.release(index);
        }
    }

    /// Frees a slot, if it is in use.
    fn release(&mut self, index: usize) -> Option<AckTicket> {
        let slot = self.slots.get_mut(index)?;
        let (ticket, _) = slot.pending.take()?;
        self.free.push(index);
        // A handler may panic while it is dropped, too.
        let dropped = catch_unwind(AssertUnwindSafe(|| slot.future.set(None)));
        if dropped.is_err() {
            slot.future = Box::pin(None);
        }
        Some(ticket)
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
