//! Which answers wait, when there are more than HAProxy waits for.
//!
//! HAProxy 3.1 and later never read a connection again once they find 16 KiB unread on it, and go
//! on using it: whatever is asked there goes unanswered from then on. The 20 requests that they
//! have in flight on a connection do not come near that. More than 20 come together when HAProxy
//! has given up on some of them: the agent, its machine or the network stood still for longer
//! than `timeout processing`, and what was asked meanwhile arrives at once. If its answers left at
//! once, too, a short pause would become an outage without end. So the newest 20 are answered as
//! ever, and the others' answers, which nobody waits for, follow little by little.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use spop_codec::FrameType;
use tokio::time::Instant;

/// NOTIFYs that HAProxy has in flight on a connection, by its own count.
const IN_FLIGHT: usize = 20;

/// What may follow at once: 2 KiB each 4 ms, so that 16 KiB are unread only where HAProxy reads
/// nothing for 25 ms.
const PORTION: usize = 2 * 1024;
const PAUSE: Duration = Duration::from_millis(4);

/// Bytes that may wait. What is more does not: memory has an end.
const MAX_LATE: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whether the last read took all there was room for: the socket may have more.
    more: bool,
    /// ACKs of what was found in the socket at once, in so many reads as that takes.
    at_once: usize,
    /// Whole frames.
    late: BytesMut,
    /// When the next of them may follow; known as long as there are any.
    next: Option<Instant>,
}

impl Pace {
    /// A read was made; `full` if it took all there was room for.
    pub(super) const fn read(&mut self, full: bool) {
        self.more = full;
    }

    /// So many ACKs are about to be written, and so many NOTIFYs have none yet. How many of these
    /// ACKs nobody waits for: the first ones.
    #[inline]
    pub(super) const fn given_up(&mut self, acks: usize, in_flight: usize) -> usize {
        self.at_once += acks;
        if !self.more {
            self.at_once = 0;
        } else if self.at_once + in_flight > IN_FLIGHT {
            return acks; // the newest are still to be read
        }
        acks.saturating_sub(IN_FLIGHT.saturating_sub(in_flight))
    }

    /// Takes so many ACKs from the front of what is to be written; they are to follow later.
    #[cold]
    pub(super) fn put_off(&mut self, acks: usize, transmit: &mut BytesMut) {
        if transmit.get(4) != Some(&FrameType::ACK.0) {
            return; // an AGENT-HELLO, which nothing overtakes
        }
        let bytes = front(transmit, acks, usize::MAX);
        self.late.extend_from_slice(&transmit.split_to(bytes));
        self.next.get_or_insert_with(Instant::now);
    }

    /// Whether anything is to follow.
    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Gives back what may follow now.
    #[cold]
    pub(super) fn follow(&mut self, transmit: &mut BytesMut) {
        let now = Instant::now();
        let excess = self.late.len().saturating_sub(MAX_LATE);
        if excess == 0 && self.next.is_some_and(|next| now < next) {
            return;
        }
        let bytes = front(&self.late, usize::MAX, excess.max(PORTION));
        transmit.extend_from_slice(self.late.get(..bytes).unwrap_or_default());
        self.late.advance(bytes);
        self.next = Some(now + PAUSE);
        if self.late.is_empty() {
            self.late = BytesMut::new();
        }
    }

    /// Nobody reads on.
    pub(super) fn forget(&mut self) {
        self.late = BytesMut::new();
    }

    /// When more may follow, if there is more.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.has_late())
    }
}

/// The bytes of so many frames at the front, and no more than so many bytes if that is at least
/// one frame.
fn front(frames: &[u8], count: usize, most: usize) -> usize {
    let mut end = 0;
    for _ in 0..count {
        let Some((length, _)) = frames.get(end..).and_then(|rest| rest.split_first_chunk()) else {
            break;
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let next = end.saturating_add(4).saturating_add(length);
        if next > frames.len() || end > 0 && next > most {
            break;
        }
        end = next;
    }
    end
}
