//! A TCP link that a test can cut, slow down or let fall silent: a proxy in front of a
//! server.
//!
//! It cannot do what only the network can: a connection to it is accepted by the kernel
//! even while the link is silent, and what the kernels have buffered still arrives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;
/// Chunks that are on their way in one direction; then the sender waits.
const ON_THE_WAY: usize = 64;

/// A link from an address of its own to a server's. Ends, and with it every connection,
/// when dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What is sent arrives after this time.
    Open(Duration),
    /// Nothing arrives.
    Silent,
    /// Connections are closed, new ones are refused.
    Cut,
}

impl Link {
    /// Listens at `addr` and carries every connection on to `server`.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub async fn start(addr: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(addr).await;
        let listener = listener.with_context(|| format!("cannot listen on {addr}"))?;
        let addr = listener.local_addr()?;
        let (state, watched) = watch::channel(State::Open(Duration::ZERO));
        Ok(Self {
            addr,
            state,
            task: tokio::spawn(serve(listener, addr, server, watched)),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// From now on nothing arrives, in either direction, and nothing is closed.
    pub fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    /// From now on everything arrives `delay` later, in each direction. The order stays, and
    /// so does the throughput.
    pub fn slow(&self, delay: Duration) {
        self.state.send_replace(State::Open(delay));
    }

    /// Carries everything at once again. What was on its way through silence arrives now.
    pub fn heal(&self) {
        self.slow(Duration::ZERO);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts while the link is not cut.
async fn serve(
    listener: TcpListener,
    addr: SocketAddr,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(listener);
    // Dropped with this task, and with them every connection.
    let mut connections = JoinSet::new();
    loop {
        let cut = *state.borrow_and_update() == State::Cut;
        if cut {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(addr).await.ok();
            if listener.is_none() {
                // Somebody's connection may still linger at the address.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = accept => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connection(client, server, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side ends it or the link is cut.
async fn connection(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let carried = async {
        // A silent link does not reach the server.
        if state
            .wait_for(|state| *state != State::Silent)
            .await
            .is_err()
        {
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            carry(from_client, to_server, state.clone()),
            carry(from_server, to_client, state.clone()),
        );
    };
    tokio::select! {
        () = carried => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// One direction of a connection, to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let (sender, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            match from.read_buf(&mut chunk).await {
                Ok(1..) => {
                    if sender.send((Instant::now(), chunk)).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    };
    let write = async move {
        while let Some((sent, chunk)) = on_the_way.recv().await {
            let Some(delay) = delay(&mut state).await else {
                return;
            };
            sleep_until(sent + delay).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// The link's delay, once it carries anything. None: it is gone.
async fn delay(state: &mut watch::Receiver<State>) -> Option<Duration> {
    let open = state
        .wait_for(|state| matches!(state, State::Open(_)))
        .await;
    match *open.ok()? {
        State::Open(delay) => Some(delay),
        State::Silent | State::Cut => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A link to a server that sends back what it gets.
    async fn echo() -> Link {
        let server = TcpListener::bind(ANY).await.unwrap();
        let addr = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Link::start(ANY, addr).await.unwrap()
    }

    async fn there_and_back(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(&[7]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn it_carries_until_it_is_cut_and_again_once_healed() {
        let link = echo().await;
        let mut stream = TcpStream::connect(link.addr()).await.unwrap();
        assert_eq!(there_and_back(&mut stream).await.unwrap(), 7);

        link.cut();
        assert!(there_and_back(&mut stream).await.is_err());
        let refused = async {
            while TcpStream::connect(link.addr()).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.unwrap();

        link.heal();
        let accepted = async {
            loop {
                if let Ok(stream) = TcpStream::connect(link.addr()).await {
                    return stream;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        let mut stream = tokio::time::timeout(PATIENCE, accepted).await.unwrap();
        assert_eq!(there_and_back(&mut stream).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn silence_holds_everything_back() {
        let link = echo().await;
        let mut stream = TcpStream::connect(link.addr()).await.unwrap();
        link.silence();
        let mut answer = Box::pin(there_and_back(&mut stream));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
        assert!(waited.is_err(), "{waited:?}");
        link.heal();
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_slow_link_delays_each_direction() {
        let link = echo().await;
        let mut stream = TcpStream::connect(link.addr()).await.unwrap();
        link.slow(Duration::from_millis(30));
        let sent = Instant::now();
        assert_eq!(there_and_back(&mut stream).await.unwrap(), 7);
        assert!(sent.elapsed() >= Duration::from_millis(60));
    }
}
