//! A check on its way to a primary, and the channel that its answer comes back by.

use std::time::Instant;

use redis::cluster_routing::Slot;
use tokio::sync::oneshot;

use super::error::StoreError;
use crate::gcra::increment;
use crate::store::Check;

/// How often a check may be sent on to another node: a slot that moved twice while the map
/// was old, and a migration on top.
const REDIRECTS: u8 = 3;

/// What the script needs to know of a check, and who waits for the room it answers.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: String,
    pub(super) slot: Slot,
    /// µs, see [`increment`].
    pub(super) increment: u64,
    /// µs
    pub(super) burst: u64,
    /// Sent to a node that is only receiving the slot: it wants to be told so (`ASKING`).
    pub(super) asking: bool,
    redirects: u8,
    deadline: Instant,
    reply: oneshot::Sender<Result<i64, StoreError>>,
}

impl Job {
    /// A job for this check, and the end that its answer arrives at.
    pub(super) fn new(check: &Check) -> (Self, oneshot::Receiver<Result<i64, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let key = format!("gcra:{}", check.client);
        let job = Self {
            slot: Slot::for_key(&key),
            key,
            increment: increment(check.quota, check.cost),
            burst: check.quota.burst(),
            asking: false,
            redirects: REDIRECTS,
            deadline: check.deadline,
            reply,
        };
        (job, answer)
    }

    pub(super) fn answer(self, answer: Result<i64, StoreError>) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(answer);
    }

    /// Whether sending it would spend for nobody.
    pub(super) fn is_pointless(&self, now: Instant) -> bool {
        now >= self.deadline || self.reply.is_closed()
    }

    /// Uses up one of its redirections; false if there is none left.
    pub(super) fn redirect(&mut self, asking: bool) -> bool {
        self.asking = asking;
        let left = self.redirects.checked_sub(1);
        self.redirects = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
pub(super) fn job(client: &str) -> (Job, oneshot::Receiver<Result<i64, StoreError>>) {
    Job::new(&Check {
        client: crate::store::Client(client.parse().unwrap()),
        quota: crate::gcra::Quota::new(10_000, 200_000).unwrap(),
        cost: 2,
        deadline: Instant::now() + std::time::Duration::from_secs(60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_bare_address() {
        assert_eq!(job("192.0.2.7").0.key, "gcra:192.0.2.7");
        assert_eq!(job("2001:db8:1:2::").0.key, "gcra:2001:db8:1:2::");
        let (job, _answer) = job("192.0.2.7");
        assert_eq!((job.increment, job.burst), (20_000, 200_000));
        assert_eq!(job.slot, Slot::for_key("gcra:192.0.2.7"));
    }

    #[test]
    fn nothing_is_sent_for_nobody() {
        let (patient, answer) = job("192.0.2.7");
        assert!(!patient.is_pointless(Instant::now()));
        assert!(patient.is_pointless(patient.deadline));
        drop(answer);
        assert!(patient.is_pointless(Instant::now()));
    }

    #[test]
    fn redirections_run_out() {
        let (mut job, _answer) = job("192.0.2.7");
        for _ in 0..REDIRECTS {
            assert!(job.redirect(true));
        }
        assert!(!job.redirect(false));
    }
}
