//! The answers of all messages of a NOTIFY, joined.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{JoinAll, join_all};
use spop_codec::Actions;

use super::route::RouteFuture;

/// The future of a [`Router`](super::Router).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct RouterFuture(State);

enum State {
    /// One answer, of one message or of several that were ready at once.
    One(RouteFuture),
    Many(Box<Many>),
}

struct Many {
    /// Of the first messages.
    done: Actions,
    /// Of the others.
    running: JoinAll<RouteFuture>,
}

impl RouterFuture {
    pub(super) const fn one(answer: RouteFuture) -> Self {
        Self(State::One(answer))
    }

    /// `answers` in message order.
    pub(super) fn join(answers: impl Iterator<Item = RouteFuture>) -> Self {
        let mut done = Actions::new();
        let mut running = Vec::new();
        for answer in answers {
            match answer.into_ready() {
                Ok(actions) if running.is_empty() => append(&mut done, actions),
                Ok(actions) => running.push(RouteFuture::ready(actions)),
                Err(answer) => running.push(answer),
            }
        }
        if running.is_empty() {
            return Self::one(RouteFuture::ready(done));
        }
        Self(State::Many(Box::new(Many {
            done,
            running: join_all(running),
        })))
    }
}

impl Future for RouterFuture {
    type Output = Result<Actions, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::One(answer) => Pin::new(answer).poll(cx),
            State::Many(many) => Pin::new(&mut many.running).poll(cx).map(|answers| {
                let mut all = mem::take(&mut many.done);
                for answer in answers {
                    let Ok(actions) = answer;
                    append(&mut all, actions);
                }
                Ok(all)
            }),
        }
    }
}

/// Without a copy if there is nothing yet.
fn append(all: &mut Actions, actions: Actions) {
    if all.is_empty() && all.error().is_none() {
        *all = actions;
    } else {
        all.append(&actions);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Many(_) => "Many",
        })
    }
}
