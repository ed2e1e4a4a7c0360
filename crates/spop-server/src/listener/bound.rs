//! A listener whose kind is known at run time only.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::either::Either;

use super::{Endpoint, Listener, UnixListener};
use crate::peer::Peer;

/// What an [`Endpoint`] gives: it listens.
#[derive(Debug)]
#[non_exhaustive]
pub enum BoundListener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

impl BoundListener {
    /// Where it listens, with the port that the system chose: what a log should say. A
    /// socket that was passed is named by its address.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => Endpoint::Tcp(address),
                Err(_) => Endpoint::Tcp(([0, 0, 0, 0], 0).into()), // never: it is bound
            },
            Self::Unix(listener) => listener.endpoint(),
        }
    }

    /// The path of its socket, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => listener.path(),
        }
    }
}

impl Listener for BoundListener {
    type Io = Either<TcpStream, UnixStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = Listener::accept(listener).await?;
                Ok((Either::Left(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Either::Right(stream), peer))
            }
        }
    }

    fn tune(io: &Self::Io, keepalive: Option<Duration>) -> io::Result<()> {
        match io {
            Either::Left(stream) => TcpListener::tune(stream, keepalive),
            Either::Right(stream) => UnixListener::tune(stream, keepalive),
        }
    }
}
