//! Which NOTIFYs of a connection wait for their ACK, and whether an ACK is one of theirs.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The frame-id of every NOTIFY, as HAProxy 3.1 and later send it.
const FRAME_ID: u64 = 1;

/// A NOTIFY that was sent. Times are durations since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// When it should have been sent: latency counts from here.
    pub(super) due: Duration,
    /// When it was: the agent can do nothing about what lies between.
    pub(super) at: Duration,
}

/// The NOTIFYs of one connection by their stream-id: 1, 3, 5, …, as HAProxy counts.
///
/// Its size is bounded by the NOTIFYs sent since the oldest that still waits, and by those
/// that were given up.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// From the oldest that waits on; `None` is answered or given up.
    slots: VecDeque<Option<Sent>>,
    /// Slots that are gone, so the number of the first one that is there.
    gone: u64,
    waiting: usize,
    given_up: HashMap<u64, Sent>,
}

impl InFlight {
    /// NOTIFYs that wait for their ACK, those given up not counted.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// NOTIFYs that had no ACK so far, those given up included.
    pub(super) fn unanswered(&self) -> usize {
        self.waiting + self.given_up.len()
    }

    /// Adds a NOTIFY, and says which stream-id to send it with.
    pub(super) fn push(&mut self, sent: Sent) -> u64 {
        let number = self.gone + self.slots.len() as u64;
        self.slots.push_back(Some(sent));
        self.waiting += 1;
        stream_id(number)
    }

    /// The NOTIFY that an ACK answers. `None`: there was none, or it was answered before.
    pub(super) fn answered(&mut self, stream_id: u64, frame_id: u64) -> Option<Sent> {
        if frame_id != FRAME_ID || stream_id.is_multiple_of(2) {
            return None;
        }
        if let Some(sent) = self.take_slot(stream_id / 2) {
            return Some(sent);
        }
        self.given_up.remove(&stream_id)
    }

    /// Gives up on those sent before `limit`: they leave their place to others, but their ACK
    /// is still known if it comes.
    pub(super) fn give_up(&mut self, limit: Duration) {
        while let Some(Some(sent)) = self.slots.front().copied()
            && sent.at < limit
        {
            self.given_up.insert(stream_id(self.gone), sent);
            self.take_slot(self.gone);
        }
    }

    fn take_slot(&mut self, number: u64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        let sent = self.slots.get_mut(index)?.take()?;
        self.waiting -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.gone += 1;
        }
        Some(sent)
    }
}

const fn stream_id(number: u64) -> u64 {
    2 * number + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn sent(millis: u64) -> Sent {
        let due = Duration::from_millis(millis);
        Sent { due, at: due }
    }

    #[test]
    fn each_ack_counts_once_in_any_order() {
        let mut in_flight = InFlight::default();
        let ids: Vec<u64> = (0..4).map(|n| in_flight.push(sent(n))).collect();
        assert_eq!(ids, [1, 3, 5, 7]);
        for (id, millis, left) in [(5, 2, 3), (1, 0, 2), (7, 3, 1), (3, 1, 0)] {
            assert_eq!(in_flight.answered(id, 1), Some(sent(millis)));
            assert_eq!(in_flight.answered(id, 1), None, "a second time");
            assert_eq!(in_flight.waiting(), left);
        }
        assert_eq!(in_flight.push(sent(4)), 9);
    }

    #[test]
    fn ids_that_nobody_sent() {
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.push(sent(0)), 1);
        for (stream_id, frame_id) in [(0, 1), (1, 0), (1, 2), (2, 1), (3, 1), (u64::MAX, 1)] {
            assert_eq!(in_flight.answered(stream_id, frame_id), None);
        }
        assert_eq!(in_flight.waiting(), 1);
        assert_eq!(in_flight.answered(1, 1), Some(sent(0)));
    }

    #[test]
    fn given_up_but_not_forgotten() {
        let mut in_flight = InFlight::default();
        (0..4).for_each(|n| {
            in_flight.push(sent(n));
        });
        in_flight.answered(3, 1);
        in_flight.give_up(Duration::from_millis(0));
        assert_eq!((in_flight.waiting(), in_flight.unanswered()), (3, 3));
        in_flight.give_up(Duration::from_millis(3));
        assert_eq!((in_flight.waiting(), in_flight.unanswered()), (1, 3));
        assert_eq!(in_flight.answered(5, 1), Some(sent(2)));
        assert_eq!(in_flight.answered(5, 1), None);
        assert_eq!(in_flight.answered(1, 1), Some(sent(0)));
        assert_eq!(in_flight.answered(7, 1), Some(sent(3)));
        in_flight.give_up(Duration::MAX);
        assert_eq!((in_flight.waiting(), in_flight.unanswered()), (0, 0));
    }

    proptest! {
        /// Against a plain map: `None` sends, `Some` answers.
        #[test]
        fn like_a_map(steps in proptest::collection::vec(proptest::option::of(0..64_u64), 0..200)) {
            let mut in_flight = InFlight::default();
            let mut map = HashMap::new();
            for (step, now) in steps.into_iter().zip(0..) {
                match step {
                    None => {
                        map.insert(in_flight.push(sent(now)), sent(now));
                    }
                    Some(id) => prop_assert_eq!(in_flight.answered(id, 1), map.remove(&id)),
                }
                prop_assert_eq!(in_flight.waiting(), map.len());
            }
        }
    }
}
