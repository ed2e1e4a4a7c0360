//! A primary's circuit breaker: whether its checks are sent or refused at once, and when a
//! connection to it may be attempted. Does no I/O and reads no clock.
//!
//! ```text
//!            silence, a failed attempt, too many failures
//!   ┌────────┐ ───────────────────────────▶ ┌──────┐ ◀── attempt failed ──┐
//!   │ closed │                              │ open │                 ┌────┴──────┐
//!   └────────┘ ◀─┐                          └──────┘ ── pause over ─▶│ half-open │
//!       checks   └──────────────── attempt succeeded ────────────────┴───────────┘
//!       are sent
//! ```
//!
//! Open and half-open refuse every check. So no check is ever the one that finds out whether
//! the primary is back: a new connection does, before it carries any.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// Failures are counted over this long.
const WINDOW: Duration = Duration::from_millis(200);
/// Fewer exchanges than this in a window say nothing.
const LEAST: u64 = 20;
/// A connection that lasted so long makes up for earlier failures. One that did not is no
/// proof that the primary is well.
const STEADY: Duration = Duration::from_secs(1);

/// What a primary's breaker does with checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They are sent.
    Closed,
    /// They are refused at once; the next attempt to connect is some time away.
    Open,
    /// They are refused at once; an attempt to connect is under way.
    HalfOpen,
}

/// The state, and what decides about the next one.
#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    since: Instant,
    /// When the last attempt succeeded.
    connected: Option<Instant>,
    /// When the next attempt may be made.
    attempt: Instant,
    backoff: Backoff,
    window: Option<Window>,
}

/// How many exchanges there had been when a window began.
#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    before: Exchanges,
}

/// Exchanges with a primary since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Exchanges {
    /// With an answer in time.
    pub(super) answered: u64,
    /// Without.
    pub(super) failed: u64,
}

impl Breaker {
    /// Closed: until the first attempt has failed, nothing speaks against this primary.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: BreakerState::Closed,
            since: now,
            connected: None,
            attempt: now,
            backoff: Backoff::connecting(),
            window: None,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// When it came to be in this state.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether an attempt ever succeeded.
    pub(super) fn was_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// When the next attempt to connect may be made; at once if that is over.
    pub(super) fn attempt_at(&self) -> Instant {
        self.attempt
    }

    /// An attempt to connect begins.
    pub(super) fn attempting(&mut self, now: Instant) {
        if self.state == BreakerState::Open {
            self.change_to(BreakerState::HalfOpen, now);
        }
    }

    /// The attempt takes longer than checks may wait for it.
    pub(super) fn attempt_overdue(&mut self, now: Instant) {
        if self.state == BreakerState::Closed {
            self.change_to(BreakerState::HalfOpen, now);
        }
    }

    /// The attempt failed.
    pub(super) fn attempt_failed(&mut self, now: Instant) {
        self.open(now);
    }

    /// The attempt succeeded.
    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
        self.window = None;
        if self.state != BreakerState::Closed {
            self.change_to(BreakerState::Closed, now);
        }
    }

    /// A connection that was made at `made` was closed or reset, as by a restart. Checks may
    /// wait for the first attempt at another one, unless it had hardly been made.
    pub(super) fn reset(&mut self, made: Instant, now: Instant) {
        if self.state != BreakerState::Closed {
            // Known already.
        } else if now.saturating_duration_since(made) >= STEADY {
            self.backoff = Backoff::connecting();
        } else {
            self.open(now);
        }
    }

    /// A connection was silent although an answer was due.
    pub(super) fn silent(&mut self, now: Instant) {
        if self.state == BreakerState::Closed {
            self.open(now);
        }
    }

    /// An exchange failed; `exchanges` counts it already.
    pub(super) fn exchange_failed(&mut self, exchanges: Exchanges, now: Instant) {
        if self.state != BreakerState::Closed {
            return;
        }
        let fresh = Window {
            begun: now,
            before: Exchanges {
                failed: exchanges.failed.saturating_sub(1),
                ..exchanges
            },
        };
        let window = match self.window {
            Some(window) if now.saturating_duration_since(window.begun) <= WINDOW => window,
            _ => fresh,
        };
        self.window = Some(window);
        let answered = exchanges.answered.saturating_sub(window.before.answered);
        let failed = exchanges.failed.saturating_sub(window.before.failed);
        if failed >= answered && failed.saturating_add(answered) >= LEAST {
            self.open(now);
        }
    }

    /// Opens until after the next pause.
    fn open(&mut self, now: Instant) {
        if self.state == BreakerState::Closed && self.was_steady(now) {
            self.backoff = Backoff::connecting();
        }
        self.attempt = now + self.backoff.pause();
        self.window = None;
        self.change_to(BreakerState::Open, now);
    }

    fn was_steady(&self, now: Instant) -> bool {
        let connected = self.connected;
        connected.is_some_and(|connected| now.saturating_duration_since(connected) >= STEADY)
    }

    fn change_to(&mut self, state: BreakerState, now: Instant) {
        self.state = state;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use BreakerState::{Closed, HalfOpen, Open};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A breaker whose primary has been well for a minute, and the present.
    fn well() -> (Breaker, Instant) {
        let begin = Instant::now();
        let mut breaker = Breaker::new(begin);
        breaker.connected(begin);
        (breaker, begin + 60_000 * MS)
    }

    fn pause(breaker: &Breaker, now: Instant) -> Duration {
        breaker.attempt_at().saturating_duration_since(now)
    }

    #[test]
    fn nothing_is_refused_until_an_attempt_has_failed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert_eq!(breaker.state(), Closed);
        assert!(breaker.attempt_at() <= now);
        breaker.attempting(now);
        assert_eq!(breaker.state(), Closed);
        breaker.attempt_failed(now + MS);
        assert_eq!((breaker.state(), breaker.since()), (Open, now + MS));
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_no_longer_waited_for_but_still_counts() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        breaker.attempting(now);
        breaker.attempt_overdue(now + 50 * MS);
        assert_eq!(breaker.state(), HalfOpen);
        breaker.connected(now + 60 * MS);
        assert_eq!((breaker.state(), breaker.since()), (Closed, now + 60 * MS));
    }

    #[test]
    fn silence_opens_and_only_an_attempt_closes() {
        let (mut breaker, now) = well();
        breaker.silent(now);
        assert_eq!(breaker.state(), Open);
        assert!(pause(&breaker, now) >= 10 * MS);
        // Whatever comes late from the old connection.
        breaker.silent(now + MS);
        breaker.reset(now, now + MS);
        assert_eq!((breaker.state(), breaker.since()), (Open, now));

        let then = breaker.attempt_at();
        breaker.attempting(then);
        assert_eq!(breaker.state(), HalfOpen);
        breaker.connected(then + MS);
        assert_eq!(breaker.state(), Closed);
    }

    #[test]
    fn failed_attempts_are_further_and_further_apart() {
        let (mut breaker, mut now) = well();
        breaker.silent(now);
        let first = pause(&breaker, now);
        for _ in 0..20 {
            now = breaker.attempt_at();
            breaker.attempting(now);
            breaker.attempt_failed(now);
        }
        assert!(first <= 20 * MS);
        assert!((250 * MS..=500 * MS).contains(&pause(&breaker, now)));
    }

    #[test]
    fn a_connection_that_was_steady_may_be_made_anew_at_once() {
        let (mut breaker, now) = well();
        breaker.reset(now - STEADY, now);
        assert_eq!(breaker.state(), Closed);
        assert!(breaker.attempt_at() <= now);
        // One lane has another one by then; the next finds out only now.
        breaker.connected(now + MS);
        breaker.reset(now - STEADY, now + 2 * MS);
        assert_eq!(breaker.state(), Closed);
    }

    #[test]
    fn connections_that_do_not_last_are_failures_that_add_up() {
        let (mut breaker, mut now) = well();
        breaker.silent(now);
        for _ in 0..20 {
            now = breaker.attempt_at();
            breaker.attempting(now);
            breaker.connected(now);
            now += 100 * MS;
            breaker.reset(now - 100 * MS, now);
            assert_eq!(breaker.state(), Open);
        }
        assert!(pause(&breaker, now) >= 250 * MS);

        // One that lasts makes up for it.
        now = breaker.attempt_at();
        breaker.attempting(now);
        breaker.connected(now);
        now += STEADY;
        breaker.silent(now);
        assert!(pause(&breaker, now) <= 20 * MS);
    }

    /// Runs exchanges, one each millisecond; `failed` says which. When did it open?
    fn run(failed: impl Fn(u64) -> bool) -> Option<u64> {
        let (mut breaker, now) = well();
        let mut exchanges = Exchanges {
            answered: 1_000_000,
            failed: 1000,
        };
        for (number, at) in (0..1000).zip((0..).map(|ms| now + ms * MS)) {
            if failed(number) {
                exchanges.failed += 1;
                breaker.exchange_failed(exchanges, at);
            } else {
                exchanges.answered += 1;
            }
            if breaker.state() == Open {
                return Some(number);
            }
        }
        None
    }

    #[test]
    fn half_of_the_exchanges_failing_opens() {
        assert_eq!(run(|_| true), Some(LEAST - 1));
        assert_eq!(run(|number| number % 2 == 0), Some(LEAST));
        assert_eq!(run(|number| number % 3 != 0), Some(LEAST));
    }

    #[test]
    fn fewer_failures_or_fewer_exchanges_do_not_open() {
        assert_eq!(run(|_| false), None);
        assert_eq!(run(|number| number % 3 == 0), None);
        // A stall of 19 exchanges.
        assert_eq!(run(|number| (500..519).contains(&number)), None);
        // Every exchange fails, but there are few.
        let (mut breaker, now) = well();
        for number in 1..1000 {
            let exchanges = Exchanges {
                answered: 0,
                failed: u64::from(number),
            };
            breaker.exchange_failed(exchanges, now + number * 11 * MS);
            assert_eq!(breaker.state(), Closed);
        }
    }
}
