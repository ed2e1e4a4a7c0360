//! One connection: the socket, the protocol's state, and the handlers in between.

mod driver;
mod in_flight;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spop_codec::{Actions, Closed, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tower_service::Service;
use tracing::{debug, warn};

use crate::config::Config;
use crate::notify::Notify;
use driver::Driver;

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

/// Serves one connection, accepted by other means than [`serve`](crate::serve()), to its
/// end. Never fails: how a connection ends is logged.
///
/// ```
/// # use spop_server::{Config, Router, serve_connection};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (haproxy, agent) = tokio::io::duplex(1024);
/// drop(haproxy);
/// serve_connection(agent, None, Router::new(), Config::new()).await;
/// # }
/// ```
pub async fn serve_connection<IO, S>(io: IO, peer: Option<SocketAddr>, service: S, config: Config)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone,
{
    let (_sender, phase) = watch::channel(Phase::Serving);
    run(io, peer, service, Arc::new(config), phase).await;
}

/// Why a connection ended.
enum End {
    /// By the protocol.
    Closed(Closed),
    /// The peer closed, with this many NOTIFYs not answered.
    Eof(usize),
    /// The socket failed.
    Io(io::Error),
    /// The peer took no byte of an answer for too long.
    WriteTimeout,
}

pub(crate) async fn run<IO, S>(
    io: IO,
    peer: Option<SocketAddr>,
    service: S,
    config: Arc<Config>,
    mut phase: watch::Receiver<Phase>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<Notify, Response = Actions, Error = Infallible> + Clone,
{
    let mut driver = Driver::new(io, peer, service, config);
    driver.enter(*phase.borrow_and_update());
    let mut phases = true;
    let end = loop {
        tokio::select! {
            biased;
            end = poll_fn(|cx| driver.poll(cx)) => break end,
            changed = phase.changed(), if phases => match changed {
                Ok(()) => driver.enter(*phase.borrow_and_update()),
                Err(_server_is_gone) => phases = false,
            },
        }
    };
    log(peer, &end);
    if let End::Closed(closed) = end
        && closed != Closed::HelloTimeout
    {
        let _late_or_gone = timeout(LINGER, linger(driver.into_io())).await;
    }
}

/// Says that nothing follows, and reads until the peer says the same.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    io.shutdown().await?;
    let mut discarded = [0; 512];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}

/// One line for each end that an operator can act on; the normal ones at debug level.
fn log(peer: Option<SocketAddr>, end: &End) {
    let peer = peer.map_or_else(|| String::from("local"), |peer| peer.to_string());
    match end {
        End::Closed(Closed::ByPeer(bye)) if bye.status != Status::NORMAL => warn!(
            peer,
            status = %bye.status,
            message = %bye.message(),
            "HAProxy disconnected"
        ),
        End::Closed(Closed::Refused(status)) => warn!(peer, %status, "HELLO refused"),
        End::Closed(Closed::Violation(error)) => {
            warn!(peer, %error, status = %error.status(), "disconnected: protocol violation");
        }
        End::Closed(Closed::FrameTimeout) => {
            warn!(peer, "disconnected: a frame was not completed in time");
        }
        End::WriteTimeout => warn!(peer, "dropped: the peer does not read its answers"),
        End::Io(error) if !is_hang_up(error) => warn!(peer, %error, "connection failed"),
        End::Io(error) => debug!(peer, %error, "connection ended"),
        End::Eof(0) => debug!(peer, "connection closed by HAProxy"),
        End::Eof(in_flight) => debug!(peer, in_flight, "connection closed by HAProxy"),
        End::Closed(closed) => debug!(peer, ?closed, "connection ended"),
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
