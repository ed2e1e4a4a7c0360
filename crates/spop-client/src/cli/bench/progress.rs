//! What a run says on standard error every second.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::tally::SharedTally;

/// One line that is rewritten on a terminal, and one line a second elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    warmup: Duration,
    total: Duration,
    /// The last line's time and number of answers.
    last: (Duration, u64),
}

impl Progress {
    /// For a run of `total`, of which the first `warmup` is not measured.
    pub(super) fn new(warmup: Duration, total: Duration) -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            warmup,
            total,
            last: (Duration::ZERO, 0),
        }
    }

    /// Says how the run goes, `now` after its beginning.
    pub(super) fn show(&mut self, now: Duration, tallies: &[SharedTally]) {
        let (mut answers, mut faults) = (0, 0);
        for tally in tallies {
            let tally = tally.lock();
            answers += tally.answered + tally.late;
            faults += tally.faults();
        }
        let line = self.line(now, answers, faults);
        // Nowhere is left to say that standard error is gone.
        if self.terminal {
            write!(io::stderr(), "\r{CLEAR}{line}").ok();
        } else {
            writeln!(io::stderr(), "{line}").ok();
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&self) {
        if self.terminal {
            write!(io::stderr(), "\r{CLEAR}").ok();
        }
    }

    fn line(&mut self, now: Duration, answers: u64, faults: u64) -> String {
        let (before, answers_before) = std::mem::replace(&mut self.last, (now, answers));
        let seconds = now.saturating_sub(before).as_secs_f64();
        let rate = answers.saturating_sub(answers_before) as f64 / seconds.max(1e-3);
        let part = if now < self.warmup {
            ", warming up"
        } else {
            ""
        };
        format!(
            "{:.0} of {:.0} s: {rate:.0} NOTIFY/s, {faults} faults{part}",
            now.as_secs_f64(),
            self.total.as_secs_f64(),
        )
    }
}

/// Clears the terminal's line from the cursor on.
const CLEAR: &str = "\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_line_on() {
        let mut progress = Progress::new(Duration::from_millis(1500), Duration::from_secs(6));
        let mut line = |millis, answers, faults| {
            let now = Duration::from_millis(millis);
            progress.line(now, answers, faults)
        };
        let first = "1 of 6 s: 100 NOTIFY/s, 0 faults, warming up";
        assert_eq!(line(1000, 100, 0), first);
        assert_eq!(line(2000, 350, 1), "2 of 6 s: 250 NOTIFY/s, 1 faults");
        assert_eq!(line(4000, 350, 3), "4 of 6 s: 0 NOTIFY/s, 3 faults");
    }
}
