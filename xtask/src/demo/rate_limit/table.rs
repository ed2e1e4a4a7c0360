//! The demo's table: a line a second, the same on a terminal (there in colour) and in a file.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;

use super::load::Tally;

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";

pub(crate) struct Table<W> {
    out: W,
    colour: bool,
    /// The agent's count when the last row was printed.
    decided: (u64, u64),
}

impl<W: Write + IsTerminal> Table<W> {
    /// Prints the table's head. `direct`: no HTTP is involved.
    pub(crate) fn new(out: W, direct: bool) -> Result<Self> {
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut table = Self {
            out,
            colour,
            decided: (0, 0),
        };
        let (passed, refused) = if direct {
            ("allowed", "denied")
        } else {
            ("200", "429")
        };
        let head = format!(
            "{:>7} {:>9} {passed:>8} {refused:>8} {:>6} {:>9} {:>9}   {:>14}",
            "time", "requests", "other", "p50", "p99", "agent: yes/no"
        );
        let head = table.paint(BOLD, head);
        writeln!(table.out, "{head}")?;
        Ok(table)
    }

    /// A line that says what happens next.
    pub(crate) fn phase(&mut self, name: &str) -> Result<()> {
        writeln!(self.out, "{}", self.paint(BOLD, format!("-- {name}")))?;
        Ok(())
    }

    /// What happened since the last row, up to `time` after the start.
    pub(crate) fn row(&mut self, time: Duration, tally: &Tally, decided: (u64, u64)) -> Result<()> {
        let since = (decided.0 - self.decided.0, decided.1 - self.decided.1);
        self.decided = decided;
        self.line(&format!("{:.1} s", time.as_secs_f64()), tally, since)
    }

    /// The last row: everything.
    pub(crate) fn total(&mut self, tally: &Tally, decided: (u64, u64)) -> Result<()> {
        self.line("total", tally, decided)
    }

    fn line(&mut self, first: &str, tally: &Tally, (yes, no): (u64, u64)) -> Result<()> {
        let passed = tally.allowed + tally.undecided;
        let other_colour = if tally.other > 0 { RED } else { "" };
        let passed = self.paint(GREEN, format!("{passed:>8}"));
        let denied = self.paint(YELLOW, format!("{:>8}", tally.denied));
        let other = self.paint(other_colour, format!("{:>6}", tally.other));
        let note = match tally.undecided {
            0 => String::new(),
            some => self.paint(RED, format!("   ({some} passed undecided)")),
        };
        writeln!(
            self.out,
            "{first:>7} {:>9} {passed} {denied} {other} {:>9} {:>9}   {:>14}{note}",
            tally.requests(),
            milliseconds(tally.latency(50)),
            milliseconds(tally.latency(99)),
            format!("{yes}/{no}"),
        )?;
        self.out.flush()?;
        Ok(())
    }

    fn paint(&self, colour: &str, text: String) -> String {
        if self.colour && !colour.is_empty() {
            format!("{colour}{text}\x1b[0m")
        } else {
            text
        }
    }
}

fn milliseconds(time: Option<Duration>) -> String {
    match time {
        Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    }
}
