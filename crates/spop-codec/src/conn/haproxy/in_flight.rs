//! The NOTIFYs that wait for their ACK, the oldest first. Its owner bounds their number.

use core::time::Duration;

use alloc::collections::VecDeque;

#[derive(Debug)]
pub(super) struct InFlight {
    timeout: Duration,
    /// All with the same timeout, so the order of asking is the order of falling due.
    waiting: VecDeque<Waiting>,
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    stream_id: u64,
    frame_id: u64,
    since: Duration,
}

/// The lowest and the highest ids ever asked on the connection.
#[derive(Debug, Clone, Copy)]
struct Asked {
    stream_ids: (u64, u64),
    frame_ids: (u64, u64),
}

/// What an ACK answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// A NOTIFY that waited so long.
    InTime { elapsed: Duration },
    /// One that does not wait any more.
    Late,
    /// None that was ever asked.
    Unknown,
}

impl InFlight {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting: VecDeque::new(),
            asked: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.waiting.iter().map(Waiting::ids)
    }

    pub(super) fn contains(&self, stream_id: u64, frame_id: u64) -> bool {
        self.iter().any(|ids| ids == (stream_id, frame_id))
    }

    pub(super) fn insert(&mut self, stream_id: u64, frame_id: u64, now: Duration) {
        let asked = self.asked.get_or_insert(Asked {
            stream_ids: (stream_id, stream_id),
            frame_ids: (frame_id, frame_id),
        });
        widen(&mut asked.stream_ids, stream_id);
        widen(&mut asked.frame_ids, frame_id);
        self.waiting.push_back(Waiting {
            stream_id,
            frame_id,
            since: now,
        });
    }

    /// Removes the NOTIFY that an ACK with these ids answers.
    pub(super) fn answer(&mut self, stream_id: u64, frame_id: u64, now: Duration) -> Answered {
        let at = self.iter().position(|ids| ids == (stream_id, frame_id));
        if let Some(waiting) = at.and_then(|at| self.waiting.remove(at)) {
            return Answered::InTime {
                elapsed: now.saturating_sub(waiting.since),
            };
        }
        if self.was_asked(stream_id, frame_id) {
            Answered::Late
        } else {
            Answered::Unknown
        }
    }

    /// When the oldest falls due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let oldest = self.waiting.front()?;
        Some(oldest.since.saturating_add(self.timeout))
    }

    pub(super) fn pop_oldest(&mut self) -> Option<(u64, u64)> {
        Some(self.waiting.pop_front()?.ids())
    }

    /// Whether a NOTIFY with these ids may have been asked before. As HAProxy judges: it
    /// remembers how far it counted, not each id that it used.
    fn was_asked(&self, stream_id: u64, frame_id: u64) -> bool {
        let Some(asked) = self.asked else {
            return false;
        };
        let within = |(low, high): (u64, u64), id| (low..=high).contains(&id);
        within(asked.stream_ids, stream_id)
            && within(asked.frame_ids, frame_id)
            && self.waiting.iter().all(|waiting| {
                // A stream asks one question after the other.
                waiting.stream_id != stream_id || frame_id < waiting.frame_id
            })
    }
}

impl Waiting {
    const fn ids(&self) -> (u64, u64) {
        (self.stream_id, self.frame_id)
    }
}

fn widen((low, high): &mut (u64, u64), id: u64) {
    *low = id.min(*low);
    *high = id.max(*high);
}
