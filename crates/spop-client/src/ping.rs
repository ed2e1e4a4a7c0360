//! The health check that `option spop-check` makes.

use std::time::{Duration, Instant};

use spop_codec::{AgentHello, DecodeError, Flags, Frame, HaproxyHello};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::ToSocketAddrs;

use crate::connection::{Connection, DEFAULT_TIMEOUT, within};
use crate::error::ClientError;
use crate::hello::MAX_FRAME_SIZE;

/// What a healthy agent answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pong {
    /// What the agent announced. A check announces no capabilities, so an agent that answers
    /// with those in common has none here.
    pub agent_hello: AgentHello,
    /// From before the HAPROXY-HELLO was written until the AGENT-HELLO was there. The time to
    /// connect is not in it.
    pub round_trip: Duration,
    /// Whether the agent closed the connection within the timeout. It may leave that to
    /// HAProxy (SPOE.txt §3.2.5), so a healthy agent need not.
    pub closed: bool,
}

/// Connects to `addr` and makes a [`health_check`], with [`DEFAULT_TIMEOUT`].
///
/// # Errors
/// [`ClientError::Connect`] and those of [`health_check`].
pub async fn ping(addr: impl ToSocketAddrs) -> Result<Pong, ClientError> {
    health_check(Connection::connect(addr, Some(DEFAULT_TIMEOUT)).await?).await
}

/// Asks over a fresh connection whether the agent is healthy: HAPROXY-HELLO with
/// `healthcheck`, an AGENT-HELLO that HAProxy's check accepts, and then nothing but the end.
///
/// Waits for that end as long as the connection's timeout, if it has one: not to see it is
/// no error, but [`Pong::closed`] is false.
///
/// # Errors
/// [`ClientError::Disconnected`] if the agent refuses the check, as one that is about to stop
/// does; [`ClientError::Refused`] and [`ClientError::CheckFlags`] for an AGENT-HELLO that
/// fails HAProxy's check; [`ClientError::Trailing`] if anything follows it; else as
/// [`Connection::recv`].
pub async fn health_check<S>(mut connection: Connection<S>) -> Result<Pong, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = HaproxyHello::health_check(MAX_FRAME_SIZE);
    connection.queue(&Frame::HaproxyHello(ours.clone()));
    let begin = Instant::now();
    let raw = within(connection.timeout(), "AGENT-HELLO", async {
        connection.write().await?;
        connection.read_raw().await
    })
    .await?;
    let round_trip = begin.elapsed();

    let header = raw.header;
    let agent_hello = match Frame::decode(raw)? {
        Frame::AgentHello(hello) => hello,
        Frame::AgentDisconnect(bye) => return Err(ClientError::Disconnected(bye)),
        _ => {
            let frame_type = header.frame_type;
            return Err(DecodeError::Unexpected { frame_type }.into());
        }
    };
    if header.flags != Flags::FIN {
        return Err(ClientError::CheckFlags(header.flags));
    }
    agent_hello.check(&ours).map_err(ClientError::Refused)?;

    let closed = match connection.closed().await {
        Ok(()) => true,
        Err(ClientError::Timeout { .. }) => false,
        Err(error) => return Err(error),
    };
    Ok(Pong {
        agent_hello,
        round_trip,
        closed,
    })
}
