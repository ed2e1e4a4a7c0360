//! How often the end of a connection is a warning.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many within a [`PERIOD`], over all connections of a server. HAProxy up to 3.0 connects
/// again hundreds of times for one request that does not fit in a frame, and a client that sends
/// such requests must not fill the disk.
const MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// What becomes of one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Told,
    /// The first that is one too many: that there are more is told.
    TooMany,
    Untold,
}

#[derive(Debug)]
pub(super) struct Warnings(Mutex<Window>);

#[derive(Debug)]
struct Window {
    begun: Option<Instant>,
    told: u32,
}

impl Warnings {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Window {
            begun: None,
            told: 0,
        }))
    }

    /// Whether one more may be told `now`, which then counts.
    pub(super) fn take(&self, now: Instant) -> Turn {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |begun| now.saturating_duration_since(begun) >= PERIOD;
        if window.begun.is_none_or(over) {
            *window = Window {
                begun: Some(now),
                told: 0,
            };
        }
        window.told = window.told.saturating_add(1);
        match window.told {
            ..=MOST => Turn::Told,
            told if told == MOST + 1 => Turn::TooMany,
            _ => Turn::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_within_ten_seconds_and_that_there_are_more() {
        let warnings = Warnings::new();
        let begun = Instant::now();
        let taken = |now| {
            let turns: Vec<_> = (0..1000).map(|_| warnings.take(now)).collect();
            [Turn::Told, Turn::TooMany].map(|one| turns.iter().filter(|turn| **turn == one).count())
        };
        assert_eq!(taken(begun), [10, 1]);
        assert_eq!(taken(begun + PERIOD / 2), [0, 0]);
        assert_eq!(taken(begun + PERIOD), [10, 1]);
    }
}
