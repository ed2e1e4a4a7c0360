//! Tells a server that is silent from one that was asked nothing. Reads no clock: it is told
//! when to look, and counts its looks.
//!
//! Counting, rather than measuring, is what keeps a process that was not running (stopped,
//! throttled, on a busy machine) from taking its own absence for the server's: however long
//! it was away, that is one look.

use std::time::Duration;

/// Time between two looks while something is going on.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// A connection that carried nothing for this long is asked for a sign of life. Four `PING`s
/// a second take about 60 µs of a server's time.
pub(super) const IDLE: Duration = Duration::from_millis(250);
/// The least time without an answer that is silence.
const SILENCE: Duration = Duration::from_millis(50);

/// How long a server that takes up to `budget` to answer has to be silent for that to mean
/// something.
pub(super) fn silence(budget: Duration) -> Duration {
    budget.max(SILENCE)
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// So many looks without an answer are silence.
    limit: u128,
    looks: u128,
    /// An answer came since the last look.
    heard: bool,
    /// What was asked last got no answer in time.
    unanswered: bool,
    resting: bool,
}

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Look again after this long.
    Well(Duration),
    /// Send a `PING`, and look again after this long.
    Ask(Duration),
    /// Give the connection up.
    Silent,
}

impl Watchdog {
    /// For a new connection. The first look is due after [`LOOK`].
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            // The first look may come right after the question.
            limit: silence.as_millis().div_ceil(LOOK.as_millis()) + 1,
            looks: 0,
            heard: true,
            unanswered: false,
            resting: false,
        }
    }

    /// Something is sent. True: the next look is due after [`LOOK`], not when it was said.
    pub(super) fn asked(&mut self) -> bool {
        std::mem::take(&mut self.resting)
    }

    /// An answer came.
    pub(super) fn heard(&mut self) {
        self.heard = true;
        self.unanswered = false;
    }

    /// What was sent got no answer in time.
    pub(super) fn unanswered(&mut self) {
        self.unanswered = true;
    }

    /// Looks. `waiting`: there is something sent that may still be answered in time.
    pub(super) fn look(&mut self, waiting: bool) -> Finding {
        if std::mem::take(&mut self.heard) {
            self.looks = 0;
            return Finding::Well(LOOK);
        }
        if waiting || self.unanswered {
            self.looks += 1;
            return match waiting {
                _ if self.looks >= self.limit => Finding::Silent,
                true => Finding::Well(LOOK),
                false => Finding::Ask(LOOK),
            };
        }
        self.looks = 0;
        if std::mem::replace(&mut self.resting, true) {
            self.resting = false;
            return Finding::Ask(LOOK);
        }
        Finding::Well(IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> Watchdog {
        let mut watchdog = Watchdog::new(silence(Duration::from_millis(8)));
        assert_eq!(watchdog.look(false), Finding::Well(LOOK));
        watchdog
    }

    #[test]
    fn who_is_asked_and_says_nothing_is_silent_after_50_ms() {
        let mut watchdog = watchdog();
        watchdog.asked();
        for _ in 0..5 {
            assert_eq!(watchdog.look(true), Finding::Well(LOOK));
        }
        assert_eq!(watchdog.look(true), Finding::Silent);
    }

    #[test]
    fn a_longer_budget_is_waited_for() {
        let mut watchdog = Watchdog::new(silence(Duration::from_millis(101)));
        watchdog.look(true);
        for _ in 0..11 {
            assert_eq!(watchdog.look(true), Finding::Well(LOOK));
        }
        assert_eq!(watchdog.look(true), Finding::Silent);
    }

    #[test]
    fn an_answer_starts_the_count_anew() {
        let mut watchdog = watchdog();
        for _ in 0..100 {
            watchdog.asked();
            for _ in 0..5 {
                assert_ne!(watchdog.look(true), Finding::Silent);
            }
            watchdog.heard();
            assert_eq!(watchdog.look(true), Finding::Well(LOOK));
        }
    }

    #[test]
    fn a_check_that_got_no_answer_is_looked_into_without_another_one() {
        let mut watchdog = watchdog();
        watchdog.asked();
        watchdog.unanswered();
        for _ in 0..5 {
            assert_eq!(watchdog.look(false), Finding::Ask(LOOK));
        }
        assert_eq!(watchdog.look(false), Finding::Silent);
    }

    #[test]
    fn an_idle_connection_is_asked_now_and_then() {
        let mut watchdog = watchdog();
        for _ in 0..100 {
            assert_eq!(watchdog.look(false), Finding::Well(IDLE));
            assert_eq!(watchdog.look(false), Finding::Ask(LOOK));
            watchdog.heard();
            assert_eq!(watchdog.look(false), Finding::Well(LOOK));
        }
        // And if it does not answer:
        assert_eq!(watchdog.look(false), Finding::Well(IDLE));
        assert_eq!(watchdog.look(false), Finding::Ask(LOOK));
        for _ in 0..5 {
            assert_eq!(watchdog.look(true), Finding::Well(LOOK));
        }
        assert_eq!(watchdog.look(true), Finding::Silent);
    }

    #[test]
    fn whoever_rests_is_woken_by_a_check() {
        let mut watchdog = watchdog();
        assert!(!watchdog.asked());
        assert_eq!(watchdog.look(false), Finding::Well(IDLE));
        assert!(watchdog.asked());
        assert!(!watchdog.asked());
    }
}
