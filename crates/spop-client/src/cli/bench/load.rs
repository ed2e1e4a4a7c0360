//! The load on one connection: what is sent when, and what an ACK says about it. No I/O and
//! no clock: times are durations since the run began.

use std::time::Duration;

use super::in_flight::{InFlight, Sent};
use super::schedule::Schedule;
use super::template::Template;

/// Keeps a window of NOTIFYs in flight, or sends them when they are due.
#[derive(Debug)]
pub(super) struct Load {
    template: Template,
    /// Without one, the next NOTIFY is due when there is room for it: a closed loop.
    schedule: Option<Schedule>,
    window: usize,
    timeout: Duration,
    in_flight: InFlight,
    /// Whether the window had no room when NOTIFYs were last queued.
    full: bool,
}

/// What [`Load::queue`] added.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    /// NOTIFYs.
    pub(super) notifies: u64,
    /// Those of them that were due earlier, when the window had no room.
    pub(super) held_back: u64,
}

/// What an ACK turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers a NOTIFY within the timeout.
    InTime(Latency),
    /// It answers a NOTIFY, after the timeout.
    Late(Latency),
    /// It answers nothing that waits: ids that nobody sent, or a second answer.
    Unexpected,
}

/// How long an answer took, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latency {
    /// When the NOTIFY was due.
    pub(super) due: Duration,
    /// From then until its ACK was read.
    pub(super) time: Duration,
}

impl Load {
    /// At most `window` NOTIFYs wait at a time, each for at most `timeout` since it was sent.
    pub(super) fn new(
        template: Template,
        schedule: Option<Schedule>,
        window: usize,
        timeout: Duration,
    ) -> Self {
        Self {
            template,
            schedule,
            window,
            timeout,
            in_flight: InFlight::default(),
            full: false,
        }
    }

    /// Whether NOTIFYs have due times of their own.
    pub(super) const fn is_paced(&self) -> bool {
        self.schedule.is_some()
    }

    /// Appends every NOTIFY that may go at `now`.
    pub(super) fn queue(&mut self, now: Duration, out: &mut Vec<u8>) -> Queued {
        let mut queued = Queued::default();
        while self.in_flight.waiting() < self.window {
            let due = match &mut self.schedule {
                None => now,
                Some(schedule) => match schedule.take(now) {
                    Some(due) => due,
                    None => break,
                },
            };
            queued.notifies += 1;
            queued.held_back += u64::from(self.full && due < now);
            let stream_id = self.in_flight.push(Sent { due, at: now });
            self.template.encode(stream_id, out);
        }
        self.full = self.in_flight.waiting() >= self.window;
        queued
    }

    /// When to [`queue`](Self::queue) again if no ACK comes first.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let schedule = self.schedule.as_ref().filter(|_| !self.full)?;
        Some(schedule.next())
    }

    /// Judges an ACK that was read at `now`.
    pub(super) fn answer(&mut self, stream_id: u64, frame_id: u64, now: Duration) -> Answer {
        let Some(Sent { due, at }) = self.in_flight.answered(stream_id, frame_id) else {
            return Answer::Unexpected;
        };
        let time = now.saturating_sub(due);
        let latency = Latency { due, time };
        if now.saturating_sub(at) > self.timeout {
            Answer::Late(latency)
        } else {
            Answer::InTime(latency)
        }
    }

    /// Makes room for others in place of those that waited longer than the timeout. Their
    /// ACKs are [late](Answer::Late) if they still come.
    pub(super) fn give_up(&mut self, now: Duration) {
        self.in_flight.give_up(now.saturating_sub(self.timeout));
    }

    /// NOTIFYs that wait for their ACK, those given up not counted.
    pub(super) const fn waiting(&self) -> usize {
        self.in_flight.waiting()
    }

    /// NOTIFYs that had no ACK so far, those given up included.
    pub(super) fn unanswered(&self) -> usize {
        self.in_flight.unanswered()
    }

    /// How many NOTIFYs were due by `now` and were not sent. They are not sent later.
    pub(super) fn skip_overdue(&mut self, now: Duration) -> u64 {
        let Some(schedule) = &mut self.schedule else {
            return 0;
        };
        let mut overdue = 0;
        while schedule.take(now).is_some() {
            overdue += 1;
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn load(schedule: Option<Schedule>, window: usize) -> Load {
        Load::new(Template::new("m", []).unwrap(), schedule, window, ms(500))
    }

    fn in_time(due: u64, time: u64) -> Answer {
        let (due, time) = (ms(due), ms(time));
        Answer::InTime(Latency { due, time })
    }

    #[track_caller]
    fn queue(load: &mut Load, now: u64) -> (u64, u64) {
        let mut out = Vec::new();
        let queued = load.queue(ms(now), &mut out);
        assert_eq!(out.is_empty(), queued.notifies == 0);
        (queued.notifies, queued.held_back)
    }

    #[test]
    fn a_closed_loop_fills_its_window() {
        let mut load = load(None, 3);
        assert_eq!(queue(&mut load, 7), (3, 0));
        assert_eq!(queue(&mut load, 8), (0, 0));
        assert_eq!(load.next_due(), None);
        assert_eq!(load.answer(3, 1, ms(9)), in_time(7, 2));
        assert_eq!(load.answer(3, 1, ms(9)), Answer::Unexpected);
        assert_eq!(queue(&mut load, 9), (1, 0));
        assert_eq!(load.answer(7, 1, ms(12)), in_time(9, 3));
        assert_eq!(load.waiting(), 2);
        assert_eq!(load.skip_overdue(ms(1000)), 0);
    }

    /// No coordinated omission: while the agent stalls, NOTIFYs stay due, and what they wait
    /// is their latency although the agent answered them at once when it got them.
    #[test]
    fn latency_counts_from_the_due_time() {
        let every_10_ms = Schedule::new(100, 1, 0, None);
        let mut load = load(Some(every_10_ms), 2);
        assert_eq!(queue(&mut load, 0), (1, 0));
        assert_eq!(load.next_due(), Some(ms(10)));
        assert_eq!(queue(&mut load, 9), (0, 0));
        assert_eq!(queue(&mut load, 12), (1, 0), "late by our fault");
        assert_eq!(load.next_due(), None, "the window is full");
        assert_eq!(queue(&mut load, 35), (0, 0));

        // The agent wakes up.
        assert_eq!(load.answer(1, 1, ms(100)), in_time(0, 100));
        assert_eq!(load.answer(3, 1, ms(100)), in_time(10, 90));
        assert_eq!(queue(&mut load, 100), (2, 2));
        assert_eq!(load.answer(5, 1, ms(101)), in_time(20, 81));
        assert_eq!(load.answer(7, 1, ms(101)), in_time(30, 71));
        assert_eq!(queue(&mut load, 101), (2, 2));

        // 60, 70, 80, 90 and 100 ms.
        assert_eq!(load.skip_overdue(ms(101)), 5);
        assert_eq!(load.waiting(), 2);
    }

    #[test]
    fn the_timeout_counts_from_the_sending() {
        let every_10_ms = Schedule::new(100, 1, 0, None);
        let mut load = load(Some(every_10_ms), 1);
        assert_eq!(queue(&mut load, 400), (1, 0));
        load.give_up(ms(900));
        assert_eq!(load.waiting(), 1);
        assert_eq!(load.answer(1, 1, ms(900)), in_time(0, 900));

        assert_eq!(queue(&mut load, 900), (1, 1));
        load.give_up(ms(1401));
        assert_eq!((load.waiting(), load.unanswered()), (0, 1));
        assert_eq!(queue(&mut load, 1401), (1, 1), "in its place");
        let late = Latency {
            due: ms(10),
            time: ms(1490),
        };
        assert_eq!(load.answer(3, 1, ms(1500)), Answer::Late(late));
        assert_eq!(load.answer(3, 1, ms(1500)), Answer::Unexpected);
        let late = Latency {
            due: ms(20),
            time: ms(1882),
        };
        assert_eq!(load.answer(5, 1, ms(1902)), Answer::Late(late));
    }
}
