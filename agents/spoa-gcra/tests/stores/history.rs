//! What one limit granted and denied, and when, seen from outside: each decision was made
//! between the moment at which it was asked for and the one at which it was known.
//!
//! From that alone it can be told when a limit was broken for certain, in either direction.
//! Whoever reorders or delays checks cannot make a good store look bad.

use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;

/// The decision was made between these two, in µs since the history began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    from: u64,
    to: u64,
}

/// The record of one limit of one client.
#[derive(Debug)]
pub(crate) struct History {
    quota: Quota,
    began: Instant,
    /// With the µs that were spent.
    spent: Vec<(Span, u64)>,
    /// With the µs that were refused.
    denied: Vec<(Span, u64)>,
}

impl History {
    pub(crate) fn new(quota: Quota, began: Instant) -> Self {
        Self {
            quota,
            began,
            spent: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// So much (cost × requests) was granted, between `asked` and now.
    pub(crate) fn spent(&mut self, asked: Instant, cost: u64) {
        let span = self.until_now(asked);
        if cost > 0 {
            self.spent.push((span, cost * self.quota.interval()));
        }
    }

    /// A request of this cost was denied, between `asked` and now.
    pub(crate) fn denied(&mut self, asked: Instant, cost: u64) {
        let span = self.until_now(asked);
        self.denied.push((span, cost * self.quota.interval()));
    }

    /// What was denied or spent by others at the same time.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.spent.append(&mut other.spent);
        self.denied.append(&mut other.denied);
    }

    /// Whatever the window: no more was spent in it than the burst and what came back.
    ///
    /// # Panics
    /// If more was.
    pub(crate) fn no_window_has_more_than_burst_and_refill(&mut self) {
        self.spent.sort_by_key(|(span, _)| span.to);
        for (first, _) in &self.spent {
            let mut spent = 0;
            for (span, more) in self
                .spent
                .iter()
                .filter(|(span, _)| span.from >= first.from)
            {
                spent += more;
                let window = span.to - first.from;
                let most = self.quota.burst() + window + apart(window);
                assert!(spent <= most, "{spent} of {most} µs spent in {window} µs");
            }
        }
    }

    /// Whoever was denied had a reason: enough had been spent, or may have been, that the
    /// request did not fit any more.
    ///
    /// # Panics
    /// If one had none.
    pub(crate) fn nobody_was_denied_without_cause(&self) {
        for (denied, refused) in &self.denied {
            if *refused > self.quota.burst() {
                continue;
            }
            // The TAT is the moment of some request before, plus all that was spent from then
            // on. It matters only what is spent between two moments at which spans end.
            let before = self.spent.iter().filter(|(span, _)| span.from <= denied.to);
            let may_be_the_cause = |moment: u64| {
                let later = before.clone().filter(|(span, _)| span.to >= moment);
                let tat = moment + later.map(|(_, spent)| spent).sum::<u64>();
                let now = denied.from.max(moment);
                tat + refused + apart(denied.to) > now + self.quota.burst()
            };
            let mut moments = before.clone().map(|(span, _)| span.to.min(denied.to));
            assert!(
                moments.any(may_be_the_cause),
                "{refused} µs refused at {denied:?} without a cause"
            );
        }
    }

    fn until_now(&self, asked: Instant) -> Span {
        Span {
            from: micros(asked - self.began),
            // A clock in whole µs may be one behind.
            to: micros(self.began.elapsed()) + 1,
        }
    }
}

/// How far the clock of a server on this machine, which may be made to run a little faster
/// or slower, is from ours after so many µs.
pub(crate) fn apart(micros: u64) -> u64 {
    micros / 500 + 50
}

pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap()
}

/// A limit of 3 requests at once and one every 10 ms, and what happened in µs.
fn history(spent: &[(u64, u64, u64)], denied: &[(u64, u64)]) -> History {
    let quota = Quota::new(10_000, 30_000).unwrap();
    let mut history = History::new(quota, Instant::now());
    let span = |from, to| Span { from, to };
    let spent = spent
        .iter()
        .map(|&(from, to, n)| (span(from, to), n * 10_000));
    history.spent.extend(spent);
    let denied = denied.iter().map(|&(from, to)| (span(from, to), 10_000));
    history.denied.extend(denied);
    history
}

#[test]
fn what_may_have_been_right_passes() {
    // The fourth may have come 10 ms after the first, which may have come at once.
    let mut late = history(
        &[(0, 20_000, 1), (5_000, 6_000, 2), (8_000, 15_000, 1)],
        &[],
    );
    late.no_window_has_more_than_burst_and_refill();
    // Three may have been spent at the end of their spans, right before the denial.
    let spent = [(0, 50_000, 1), (0, 55_000, 1), (0, 60_000, 1)];
    history(&spent, &[(40_000, 59_000)]).nobody_was_denied_without_cause();
    // All were spent before, and by the time of the denial only 9 ms had come back.
    history(&[(0, 10, 3)], &[(9_000, 9_000)]).nobody_was_denied_without_cause();
}

#[test]
#[should_panic = "40000 of 39"]
fn one_too_many_is_found() {
    let spent = [(0, 9_000, 1), (2_000, 3_000, 2), (4_000, 5_000, 1)];
    history(&spent, &[]).no_window_has_more_than_burst_and_refill();
}

#[test]
#[should_panic = "10000 µs refused"]
fn a_denial_out_of_nothing_is_found() {
    let spent = [(0, 1_000, 2), (50_000, 60_000, 3)];
    history(&spent, &[(2_000, 40_000)]).nobody_was_denied_without_cause();
}

#[test]
#[should_panic = "10000 µs refused"]
fn a_denial_that_lasts_too_long_is_found() {
    history(&[(0, 1_000, 3)], &[(11_200, 11_300)]).nobody_was_denied_without_cause();
}
