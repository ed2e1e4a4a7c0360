//! One listener's part of the server: the next connection, whatever goes wrong before it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spop_codec::Actions;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;
use tracing::{debug, warn};

use crate::connection::{self, Phase, Shared};
use crate::listener::Listener;
use crate::notify::Notify;

/// The pauses after failures: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Between two warnings about the same thing.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A listener of any kind.
pub(super) trait Accept<S>: Send {
    /// Waits for the next connection, through any number of failures. Cancel safe.
    fn accept<'a>(&'a mut self, shared: &'a Shared) -> BoxFuture<'a, Accepted<S>>;
}

/// An accepted connection: makes the future that serves it.
pub(super) type Accepted<S> =
    Box<dyn FnOnce(S, Arc<Shared>, watch::Receiver<Phase>) -> Connection + Send>;

/// A connection's life.
pub(super) type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Accepting<L> {
    listener: L,
    pause: Duration,
    resume: Option<Instant>,
    warnings: Seldom,
}

impl<L: Listener> Accepting<L> {
    pub(super) fn new(listener: L) -> Self {
        Self {
            listener,
            pause: Duration::ZERO,
            resume: None,
            warnings: Seldom::default(),
        }
    }

    async fn next(&mut self, shared: &Shared) -> (L::Io, crate::Peer) {
        loop {
            if let Some(resume) = self.resume {
                sleep_until(resume).await;
                self.resume = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.pause = Duration::ZERO;
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a peer was gone before it was accepted");
                    // Nothing says that the next one is not, too.
                    yield_now().await;
                }
                Err(error) => self.back_off(&error, shared),
            }
        }
    }

    /// Out of file descriptors, as a rule. That must not end the server, nor keep it
    /// spinning: the connection that could not be accepted is still there.
    fn back_off(&mut self, error: &io::Error, shared: &Shared) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        let now = Instant::now();
        self.resume = Some(now + self.pause);
        if let Some(observer) = &shared.config.observer {
            observer.accept_failed(error);
        }
        if self.warnings.is_due(now) {
            warn!(%error, "accepting fails; trying again, at least once a second");
        } else {
            debug!(%error, pause = ?self.pause, "accepting fails");
        }
    }
}

impl<L, S> Accept<S> for Accepting<L>
where
    L: Listener,
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    fn accept<'a>(&'a mut self, shared: &'a Shared) -> BoxFuture<'a, Accepted<S>> {
        Box::pin(async move {
            let (io, peer) = self.next(shared).await;
            if let Err(error) = L::tune(&io, shared.config.keepalive) {
                debug!(%peer, %error, "a socket option");
            }
            let accepted: Accepted<S> = Box::new(move |service, shared, phase| {
                Box::pin(connection::run(io, peer, service, shared, phase))
            });
            accepted
        })
    }
}

/// Errors that accept(2) passes on from the connection that it would have returned.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::Interrupted
    )
}

/// Lets a warning through once in a while.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
}

impl Seldom {
    /// Whether it is time again; if so, it is not for a while.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now >= last + WARN_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}
