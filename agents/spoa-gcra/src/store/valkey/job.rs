//! A check on its way to a primary, and the channel that its answer comes back by.

use std::sync::Arc;
use std::time::Instant;

use redis::cluster_routing::Slot;
use tokio::sync::oneshot;

use super::error::StoreError;
use crate::store::{Check, Verdict};

/// How often a check may be sent on to another node: a slot that moved twice while the map
/// was old, and a migration on top.
const REDIRECTS: u8 = 3;

/// A check, where it belongs, and who waits for the verdict.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) check: Check,
    /// The key of the first limit. All keys of a check are in the same slot.
    pub(super) key: String,
    pub(super) slot: Slot,
    /// Sent to a node that is only receiving the slot: it wants to be told so (`ASKING`).
    pub(super) asking: bool,
    redirects: u8,
    reply: oneshot::Sender<Result<Verdict, StoreError>>,
}

impl Job {
    /// A job for this check, and the end that its answer arrives at.
    ///
    /// # Errors
    /// The check, if it has no limit: nobody has to be asked.
    pub(super) fn new(
        check: Check,
    ) -> Result<(Self, oneshot::Receiver<Result<Verdict, StoreError>>), Check> {
        let Some(limit) = check.policy.limits().first() else {
            return Err(check);
        };
        let key = limit.key(check.client);
        let (reply, answer) = oneshot::channel();
        let job = Self {
            slot: Slot::for_key(&key),
            key,
            check,
            asking: false,
            redirects: REDIRECTS,
            reply,
        };
        Ok((job, answer))
    }

    pub(super) fn answer(self, answer: Result<Verdict, StoreError>) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(answer);
    }

    /// Whether one run of the script can decide both.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.slot == other.slot
            && self.check.client == other.check.client
            && self.check.cost == other.check.cost
            && self.asking == other.asking
            && Arc::ptr_eq(&self.check.policy, &other.check.policy)
    }

    /// Whether sending it would spend for nobody.
    pub(super) fn is_pointless(&self, now: Instant) -> bool {
        now >= self.check.deadline || self.reply.is_closed()
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
pub(super) fn job(client: &str) -> (Job, oneshot::Receiver<Result<Verdict, StoreError>>) {
    let quota = crate::gcra::Quota::new(10_000, 200_000).unwrap();
    let check = Check {
        client: crate::store::Client(client.parse().unwrap()),
        policy: Arc::new(crate::policy::Policy::of_one(quota)),
        cost: 2,
        count: 1,
        deadline: Instant::now() + std::time::Duration::from_secs(60),
    };
    Job::new(check).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_that_of_the_bare_address() {
        for client in ["192.0.2.7", "2001:db8:1:2::"] {
            let key = format!("gcra:{client}");
            assert_eq!(job(client).0.slot, Slot::for_key(&key));
        }
    }

    #[test]
    fn nothing_is_sent_for_nobody() {
        let (patient, answer) = job("192.0.2.7");
        assert!(!patient.is_pointless(Instant::now()));
        assert!(patient.is_pointless(patient.check.deadline));
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
