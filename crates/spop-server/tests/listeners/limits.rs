//! Failures of accepting, the limit of connections, and floods.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spop_client::Client;
use spop_server::{Config, Listener, Observer, Peer, UnixListener, serve};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{notify, obedient, only};
use crate::{bind, connect_unix, tcp_address};

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    failed: AtomicUsize,
    full: AtomicUsize,
}

impl Observer for Counts {
    fn accepted(&self, _: &Peer) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn accept_failed(&self, _: &io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn connections_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }
}

/// A listener that fails first, with the kernel's own error numbers.
struct Failing {
    errors: VecDeque<i32>,
    listener: TcpListener,
}

impl Listener for Failing {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        match self.errors.pop_front() {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => Listener::accept(&mut self.listener).await,
        }
    }
}

/// Linux's numbers.
const EMFILE: i32 = 24;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;

#[tokio::test]
async fn no_error_ends_the_server_and_peers_that_are_gone_do_not_pause_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gone = [ECONNABORTED, ECONNRESET].repeat(500);
    let errors = gone.into_iter().chain([EMFILE, EMFILE, EMFILE]).collect();
    let counts = Arc::new(Counts::default());
    let config = Config::new().with_observer(Arc::clone(&counts) as _);
    let server = serve(Failing { errors, listener }, obedient()).with_config(config);
    let served = tokio::spawn(server.into_future());
    let mut client = Client::connect(address).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    assert_eq!(counts.failed.load(Ordering::Relaxed), 3);
    served.abort();
}

#[tokio::test]
async fn one_limit_holds_for_all_listeners_and_what_waits_is_served_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let tcp = bind("127.0.0.1:0").await;
    let address = tcp_address(&tcp);
    let unix = UnixListener::bind(&path).await.unwrap();
    let counts = Arc::new(Counts::default());
    let config = Config::new()
        .with_max_connections(2)
        .with_observer(Arc::clone(&counts) as _);
    let server = serve(tcp, obedient()).and(unix).with_config(config);
    let served = tokio::spawn(server.into_future());

    let over_tcp = Client::connect(address).await.unwrap();
    assert_eq!(counts.full.load(Ordering::Relaxed), 0);
    let mut over_unix = connect_unix(&path).await.unwrap();
    let third = tokio::spawn(Client::connect(address));
    let fourth = tokio::spawn(async move { connect_unix(&path).await });
    // While these are answered the others would be, too, if they were accepted.
    for _ in 0..100 {
        over_unix.notify("yield", []).await.unwrap();
    }
    assert!(!third.is_finished() && !fourth.is_finished());
    assert_eq!(counts.accepted.load(Ordering::Relaxed), 2);
    assert_eq!(counts.full.load(Ordering::Relaxed), 1);

    drop(over_tcp);
    drop(over_unix);
    let mut third = third.await.unwrap().unwrap();
    let mut fourth = fourth.await.unwrap().unwrap();
    let ack = third.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    let ack = fourth.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    // Once for each time that it was reached.
    let full = counts.full.load(Ordering::Relaxed);
    assert!((2..=3).contains(&full), "{full}");
    served.abort();
}

#[tokio::test]
async fn a_flood_of_connections_does_not_starve_those_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let tcp = bind("127.0.0.1:0").await;
    let address = tcp_address(&tcp);
    let unix = UnixListener::bind(&path).await.unwrap();
    let counts = Arc::new(Counts::default());
    let config = Config::new()
        .with_max_connections(1000)
        .with_observer(Arc::clone(&counts) as _);
    let server = serve(tcp, obedient()).and(unix).with_config(config);
    let served = tokio::spawn(server.into_future());
    let mut client = Client::connect(address).await.unwrap();

    // Two threads connect and reset as fast as they can, until told to stop.
    let stop = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = std::iter::repeat_with(|| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                if let Ok(stream) = std::net::TcpStream::connect(address) {
                    let socket = socket2::SockRef::from(&stream);
                    socket.set_linger(Some(Duration::ZERO)).ok();
                }
            }
        })
    })
    .take(2)
    .collect();
    while counts.accepted.load(Ordering::Relaxed) < 100 {
        tokio::task::yield_now().await;
    }
    // One connection is answered all the time, and another listener is not forgotten.
    for stream_id in 0..200 {
        client.queue(&notify(stream_id, "yield")).unwrap();
        let ack = client.recv_ack().await.unwrap();
        assert_eq!(ack.stream_id(), stream_id);
    }
    for _ in 0..20 {
        let mut other = connect_unix(&path).await.unwrap();
        let ack = other.notify("ready", []).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
    }
    stop.store(1, Ordering::Relaxed);
    for thread in flood {
        thread.join().unwrap();
    }
    served.abort();
}
