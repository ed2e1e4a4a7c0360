//! One connection: the socket, the protocol's state, and the handlers in between.

mod answers;
mod call;
mod driver;
mod in_flight;
mod pace;
mod warnings;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use spop_codec::{Actions, Closed, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower_service::Service;
use tracing::{debug, warn};

use crate::config::Config;
use crate::notify::Notify;
use crate::observe::ConnectionEnd;
use crate::peer::Peer;
use driver::Driver;
use warnings::{Turn, Warnings};

/// How long to wait, after our last byte, for HAProxy to close: closing first could reset
/// the connection and take the last answers with it.
const LINGER: Duration = Duration::from_secs(1);

/// What a server wants of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything.
    Serving,
    /// Everything but health checks.
    LameDuck,
    /// To answer what is there and to end.
    Draining,
}

/// What the connections of one server have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Handlers that wait, over all connections.
    waiting: AtomicUsize,
    warnings: Warnings,
}

impl Shared {
    pub(crate) const fn new(config: Config) -> Self {
        Self {
            config,
            waiting: AtomicUsize::new(0),
            warnings: Warnings::new(),
        }
    }

    /// Takes a place for a handler that waits, if there is one.
    fn wait(self: &Arc<Self>) -> Option<Place> {
        // Counted first and given back: a limit that is a few too strict for a moment needs
        // no loop.
        let place = Place(Arc::clone(self));
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        (waiting < self.config.max_in_flight).then_some(place)
    }
}

/// The place of one waiting handler, free again when dropped.
#[derive(Debug)]
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection, accepted by other means than [`serve`](crate::serve()), to its
/// end. Never fails: how a connection ends is logged.
///
/// ```
/// # use spop_server::{Config, Peer, Router, serve_connection};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (haproxy, agent) = tokio::io::duplex(1024);
/// drop(haproxy);
/// serve_connection(agent, Peer::Local, Router::new(), Config::new()).await;
/// # }
/// ```
pub async fn serve_connection<IO, S>(io: IO, peer: Peer, service: S, config: Config)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone + 'static,
{
    let (_sender, phase) = watch::channel(Phase::Serving);
    run(io, peer, service, Arc::new(Shared::new(config)), phase).await;
}

pub(crate) async fn run<IO, S>(
    io: IO,
    peer: Peer,
    service: S,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone + 'static,
{
    let age = shared.config.max_connection_age.map(around);
    let mut driver = Driver::new(io, peer, service, Arc::clone(&shared));
    driver.enter(*phase.borrow_and_update());
    let mut phases = true;
    let mut ages = age.is_some();
    let old_age = async {
        match age {
            Some(age) => sleep(age).await,
            None => pending().await,
        }
    };
    tokio::pin!(old_age);
    let end = loop {
        tokio::select! {
            biased;
            end = poll_fn(|cx| driver.poll(cx)) => break end,
            changed = phase.changed(), if phases => match changed {
                Ok(()) => driver.enter(*phase.borrow_and_update()),
                Err(_server_is_gone) => phases = false,
            },
            () = &mut old_age, if ages => {
                ages = false;
                driver.enter(Phase::Draining);
            }
        }
    };
    log(peer, &end, driver.in_flight(), &shared.warnings);
    let io = driver.end(&end);
    if let ConnectionEnd::Protocol(closed) = end
        && closed != Closed::HelloTimeout
    {
        let _late_or_gone = timeout(LINGER, linger(io)).await;
    }
}

/// `age`, give or take a tenth at random: connections that began together do not end so.
fn around(age: Duration) -> Duration {
    let seconds = age.as_secs_f64() * (0.9 + 0.2 * fastrand::f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Says that nothing follows, and reads until the peer says the same.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    io.shutdown().await?;
    let mut discarded = [0; 512];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}

/// One line for each end that an operator can act on, as long as there are few; further ones, and
/// the normal ones, at debug level.
fn log(peer: Peer, end: &ConnectionEnd, in_flight: usize, warnings: &Warnings) {
    macro_rules! tell {
        ($($line:tt)*) => {{
            let turn = warnings.take(Instant::now());
            if turn == Turn::TooMany {
                warn!("more connections end badly; which, and why, is at debug level for some seconds");
            }
            if turn == Turn::Told {
                warn!($($line)*);
            } else {
                debug!($($line)*);
            }
        }};
    }
    match end {
        ConnectionEnd::Protocol(closed) => match closed {
            // HAProxy up to 3.0 ends a connection that it has no use for by a timeout.
            Closed::ByPeer(bye) if bye.status == Status::TIMEOUT && in_flight == 0 => {
                debug!(%peer, "connection closed by HAProxy, which had no use for it");
            }
            Closed::ByPeer(bye) if bye.status != Status::NORMAL => tell!(
                %peer,
                status = %bye.status,
                message = %bye.message(),
                "HAProxy disconnected"
            ),
            Closed::Refused(status) => tell!(%peer, %status, "HELLO refused"),
            Closed::Violation(error) => {
                tell!(%peer, %error, status = %error.status(), "disconnected: protocol violation");
            }
            Closed::FrameTimeout => {
                tell!(%peer, "disconnected: a frame was not completed in time");
            }
            closed => debug!(%peer, ?closed, "connection ended"),
        },
        ConnectionEnd::WriteTimeout => tell!(%peer, "dropped: the peer does not read its answers"),
        ConnectionEnd::Io(error) if !is_hang_up(error) => tell!(%peer, %error, "connection failed"),
        ConnectionEnd::Io(error) => debug!(%peer, %error, in_flight, "connection ended"),
        ConnectionEnd::Eof | ConnectionEnd::Dropped => {
            debug!(%peer, in_flight, "connection closed by HAProxy");
        }
    }
}

/// HAProxy ends connections by reset as a matter of course.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}
