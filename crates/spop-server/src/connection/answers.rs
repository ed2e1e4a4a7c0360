//! The protocol's state, and the answers that go into it: one ACK for each NOTIFY, the
//! handler's or the policy's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use spop_codec::{AckOutcome, AckTicket, ActionError, Actions, AgentConnection};
use tokio::time::Instant;
use tracing::field::display;
use tracing::{debug, warn};

use super::Shared;
use super::in_flight::Finished;
use crate::failure::Failure;
use crate::peer::Peer;

/// The duty to answer one NOTIFY.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) ticket: AckTicket,
    /// When the NOTIFY was read.
    pub(super) received: Instant,
}

pub(super) struct Answers {
    pub(super) connection: AgentConnection,
    peer: Peer,
    shared: Arc<Shared>,
    /// ACKs since the last write.
    pub(super) ready: usize,
    /// Of those, what the observer is to be told of when the NOTIFYs of this read are dealt with.
    at_once: Option<usize>,
    warned: bool,
}

impl Answers {
    /// Of a connection that begins now, at its time zero.
    pub(super) fn new(peer: Peer, shared: Arc<Shared>) -> Self {
        Self {
            connection: AgentConnection::new(shared.config.agent.clone(), Duration::ZERO),
            peer,
            shared,
            ready: 0,
            at_once: None,
            warned: false,
        }
    }

    /// A NOTIFY was taken in.
    #[inline]
    pub(super) fn received(&self) {
        if let Some(observer) = &self.shared.config.observer {
            observer.received();
        }
    }

    /// What was read at once is about to be answered. One look at the clock is for all that is
    /// answered on the spot: each look costs as much as a small answer.
    pub(super) const fn begin(&mut self) {
        self.at_once = Some(0);
    }

    /// It has been, or is in progress.
    pub(super) fn end(&mut self, received: Instant) {
        let at_once = self.at_once.take().unwrap_or(0);
        if at_once > 0
            && let Some(observer) = &self.shared.config.observer
        {
            let took = received.elapsed();
            for _ in 0..at_once {
                observer.answered(None, took);
            }
        }
    }

    /// Queues the ACK of a handler that is done.
    pub(super) fn finish(&mut self, (duty, output): Finished<Actions>, now: Instant) {
        self.give(duty, output.as_ref().map_err(|failure| *failure), now);
    }

    /// Queues the ACK: the handler's, or the policy's if that cannot be.
    #[inline(always)]
    pub(super) fn give(&mut self, duty: Duty, output: Result<&Actions, Failure>, now: Instant) {
        let refused = match output {
            Ok(actions) => match self.connection.try_ack(duty.ticket, actions) {
                Ok(()) => return self.given(None, duty.received, now),
                Err((ticket, AckOutcome::TooBig)) => (ticket, Failure::AckTooBig, None),
                Err((ticket, _)) => (ticket, Failure::VoidActions, actions.error()),
            },
            Err(failure) => (duty.ticket, failure, None),
        };
        self.give_by_policy(refused, duty.received, now);
    }

    #[cold]
    fn give_by_policy(
        &mut self,
        (ticket, failure, mistake): (AckTicket, Failure, Option<ActionError>),
        received: Instant,
        now: Instant,
    ) {
        self.warn(failure, mistake);
        let policy = &self.shared.config.failure_policy;
        // A policy that panics must not take the other NOTIFYs of the connection along.
        let actions = catch_unwind(AssertUnwindSafe(|| policy.answer(failure)));
        let actions = actions.unwrap_or_default();
        self.connection.ack(ticket, &actions);
        self.given(Some(failure), received, now);
    }

    #[inline]
    fn given(&mut self, failure: Option<Failure>, received: Instant, now: Instant) {
        self.ready += 1;
        if let (None, Some(at_once)) = (failure, &mut self.at_once) {
            *at_once += 1;
        } else if let Some(observer) = &self.shared.config.observer {
            observer.answered(failure, now - received);
        }
    }

    fn warn(&mut self, failure: Failure, mistake: Option<ActionError>) {
        // Of the handler's making: nothing of it comes from the request.
        let error = mistake.map(display);
        if self.warned {
            debug!(peer = %self.peer, %failure, error, "a NOTIFY is answered by policy");
            return;
        }
        self.warned = true;
        warn!(
            peer = %self.peer,
            %failure,
            error,
            "a NOTIFY is answered by policy; further ones of this connection at debug level"
        );
    }
}
