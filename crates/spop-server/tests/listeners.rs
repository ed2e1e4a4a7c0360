//! Where connections come from: TCP, Unix sockets, several at once; and what goes wrong there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "listeners/limits.rs"]
mod limits;
#[path = "listeners/socket_file.rs"]
mod socket_file;
mod support;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use spop_client::spop_codec::Status;
use spop_client::{Client, ClientError, Connection, DEFAULT_TIMEOUT, haproxy_hello};
use spop_server::{
    Actions, BoundListener, Endpoint, Listener, Peer, Request, Router, Scope, UnixListener, serve,
};
use support::{obedient, only};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;

/// An address that is only known once somebody listens there.
pub(crate) async fn bind(text: &str) -> BoundListener {
    text.parse::<Endpoint>().unwrap().bind().await.unwrap()
}

pub(crate) fn tcp_address(listener: &BoundListener) -> SocketAddr {
    match listener.endpoint() {
        Endpoint::Tcp(address) => address,
        other => panic!("{other}"),
    }
}

pub(crate) async fn connect_unix(
    path: impl AsRef<std::path::Path>,
) -> Result<Client<UnixStream>, ClientError> {
    let connection = Connection::connect_unix(path, Some(DEFAULT_TIMEOUT)).await?;
    Client::over(connection, haproxy_hello()).await
}

#[tokio::test]
async fn several_listeners_serve_as_one_and_end_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let first = bind("127.0.0.1:0").await;
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [tcp_address(&first), second.local_addr().unwrap()];
    let unix = UnixListener::bind(&path).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(first, obedient())
        .and(second)
        .and(unix)
        .with_shutdown(async {
            stopped.await.ok();
        });
    let served = tokio::spawn(server.into_future());

    let mut tcp = Vec::new();
    for address in addresses {
        tcp.push(Client::connect(address).await.unwrap());
    }
    let mut unix = connect_unix(&path).await.unwrap();
    for client in &mut tcp {
        let ack = client.notify("ready", []).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
    }
    let ack = unix.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");

    stop.send(()).unwrap();
    for client in &mut tcp {
        let end = client.recv().await;
        assert!(
            matches!(&end, Err(ClientError::Disconnected(bye)) if bye.status == Status::NORMAL),
            "{end:?}"
        );
    }
    assert!(matches!(
        unix.recv().await,
        Err(ClientError::Disconnected(_))
    ));
    drop((tcp, unix));
    served.await.unwrap().unwrap();
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_err());
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn handlers_see_the_process_behind_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let router = Router::new().message("who", async |request: Request| {
        let who = request.connection().peer().to_string();
        Actions::new().set_var(Scope::Session, "who", who.as_str())
    });
    let listener = bind(&format!("unix@{}", path.display())).await;
    let served = tokio::spawn(serve(listener, router).into_future());
    let mut client = connect_unix(&path).await.unwrap();
    let ack = client.notify("who", []).await.unwrap();
    let uid = dir.path().metadata().unwrap().uid();
    assert_eq!(
        only(&ack),
        format!("sess.who=unix:pid={},uid={uid}", std::process::id())
    );
    served.abort();
}

#[tokio::test]
async fn tcp_connections_are_sent_at_once_and_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, _) = accepted.unwrap();
    let socket = SockRef::from(&stream);
    assert!(!socket.keepalive().unwrap());

    <TcpListener as Listener>::tune(&stream, None).unwrap();
    assert!(socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());

    <TcpListener as Listener>::tune(&stream, Some(Duration::from_secs(60))).unwrap();
    assert!(socket.keepalive().unwrap());
    let idle = socket.tcp_keepalive_time().unwrap();
    let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
    assert_eq!(idle, Duration::from_secs(60));
    // "About three minutes", says Config::with_keepalive.
    assert_eq!(idle + probes, Duration::from_secs(180));

    // What the kernel would refuse is brought into its range.
    for (asked, set) in [(0, 1), (1_000_000, 32_767)] {
        let asked = Duration::from_secs(asked);
        <TcpListener as Listener>::tune(&stream, Some(asked)).unwrap();
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), set);
    }
}

/// Notes whether the server tunes what it accepts, as the default configuration says.
struct Tuned(TcpListener);

static TUNED: AtomicBool = AtomicBool::new(false);

impl Listener for Tuned {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        Listener::accept(&mut self.0).await
    }

    fn tune(io: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
        TcpListener::tune(io, keepalive)?;
        let socket = SockRef::from(io);
        let tuned = socket.tcp_nodelay()? && socket.keepalive()?;
        TUNED.store(tuned, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_of_ones_own_is_served_and_its_sockets_tuned() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(serve(Tuned(listener), obedient()).into_future());
    let mut client = Client::connect(address).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    assert!(TUNED.load(Ordering::Relaxed));
    served.abort();
}
