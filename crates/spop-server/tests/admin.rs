//! The admin listener: its pages, its health, and what it does with those who ask too much.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{self, IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spop_client::Client;
use spop_client::spop_codec::Status;
use spop_server::admin::{Admin, Counters, HTML, PROMETHEUS, Readiness};
use spop_server::{Config, Observer, Request, Router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves until the test's runtime ends.
async fn served(admin: Admin) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(admin.serve(listener));
    addr
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn request(addr: SocketAddr, method: &str, path: &str) -> Answer {
    let host = addr.to_string();
    request_of(addr, method, path, &host).await
}

async fn request_of(addr: SocketAddr, method: &str, path: &str, host: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let whole = stream.read_to_string(&mut answer);
    timeout(PATIENCE, whole).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

async fn get(addr: SocketAddr, path: &str) -> Answer {
    request(addr, "GET", path).await
}

#[tokio::test]
async fn only_these_paths_and_methods() {
    let ready = Readiness::default();
    ready.set(true);
    let admin = Admin::new(ready)
        .page("/metrics", PROMETHEUS, || "up 1\n".to_owned())
        .page("/odd", "no\ntype", || "odd".to_owned());
    let addr = served(admin).await;
    for (path, status) in [
        ("/metrics", 200),
        ("/metrics?debug=1", 200),
        ("/odd", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/", 404),
        ("/metrics/", 404),
        ("/favicon.ico", 404),
    ] {
        assert_eq!(get(addr, path).await.status, status, "{path}");
        let head = request(addr, "HEAD", path).await;
        assert_eq!((head.status, &*head.body), (status, ""), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = request(addr, method, path).await;
            assert_eq!(refused.status, 405, "{method} {path}");
            assert!(
                refused.head.contains("allow: get, head"),
                "{}",
                refused.head
            );
        }
    }
    let metrics = get(addr, "/metrics").await;
    assert_eq!(metrics.body, "up 1\n");
    let format = "content-type: text/plain; version=0.0.4";
    assert!(metrics.head.contains(format), "{}", metrics.head);
    let odd = get(addr, "/odd").await;
    assert!(
        odd.head.contains("content-type: text/plain"),
        "{}",
        odd.head
    );
    let paths = get(addr, "/").await.body;
    assert_eq!(paths, "/metrics\n/odd\n/livez\n/readyz\n");
}

#[tokio::test]
async fn every_answer_is_protected_from_other_sites() {
    let admin = Admin::new(Readiness::default()).page("/", HTML, || "<p>page".to_owned());
    let addr = served(admin).await;
    for path in ["/", "/livez", "/readyz", "/nothing"] {
        let head = get(addr, path).await.head;
        for header in [
            "cache-control: no-store",
            "content-security-policy: frame-ancestors 'none';",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
        ] {
            assert!(head.contains(header), "{path}: no {header} in {head}");
        }
    }
    assert!(
        get(addr, "/")
            .await
            .head
            .contains("content-type: text/html")
    );
}

/// A name of somebody else's that has been made to resolve to this machine.
#[tokio::test]
async fn on_loopback_only_addresses_and_localhost_are_names_of_it() {
    let admin = |listener| Admin::new(Readiness::default()).serve(listener);
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let any = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = any.local_addr().unwrap().port();
    let (local, any) = (
        (local.local_addr().unwrap(), local),
        (SocketAddr::from(([127, 0, 0, 1], port)), any),
    );
    tokio::spawn(admin(local.1));
    tokio::spawn(admin(any.1));
    for (host, status) in [
        ("127.0.0.1", 200),
        ("127.0.0.1:9001", 200),
        ("[::1]:9001", 200),
        ("localhost:9001", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("evil.example:9001", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ] {
        let answer = request_of(local.0, "GET", "/livez", host).await;
        assert_eq!(answer.status, status, "{host:?}");
        if status == 421 {
            assert!(answer.body.contains("localhost"), "{}", answer.body);
        }
    }
    // It is the connection's address that counts.
    let named = request_of(any.0, "GET", "/livez", "evil.example:9001").await;
    assert_eq!(named.status, 421);
    assert_eq!(get(any.0, "/livez").await.status, 200);
    // On others any name may be the operators' own.
    if let Some(ip) = own_address().await {
        let addr = SocketAddr::new(ip, port);
        let named = request_of(addr, "GET", "/livez", "agent.example:9001").await;
        assert_eq!(named.status, 200);
    }
}

/// This machine's address in a network, if it has one. Nothing is sent: the address that it is
/// asked for is one for documentation.
async fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect("192.0.2.1:9").await.ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback()).then_some(ip)
}

#[tokio::test]
async fn ready_is_what_serves_and_meets_the_conditions() {
    let ready = Readiness::default();
    let database = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&database);
    let admin = Admin::new(ready.clone()).ready_if(move || answers.load(Ordering::Relaxed));
    let addr = served(admin).await;
    for (serves, database_answers, status, said) in [
        (false, false, 503, "not serving\n"),
        (true, false, 503, "serving, but not ready\n"),
        (true, true, 200, "ready\n"),
        (false, true, 503, "not serving\n"),
    ] {
        ready.set(serves);
        database.store(database_answers, Ordering::Relaxed);
        let answer = get(addr, "/readyz").await;
        assert_eq!((answer.status, &*answer.body), (status, said));
        assert_eq!(get(addr, "/livez").await.status, 200);
    }
}

#[tokio::test]
#[allow(clippy::panic, reason = "the page's own")]
async fn a_page_that_panics_is_500_and_no_more() {
    let admin = Admin::new(Readiness::default()).page("/bad", PROMETHEUS, || panic!("by a test"));
    let addr = served(admin).await;
    assert_eq!(get(addr, "/bad").await.status, 500);
    assert_eq!(get(addr, "/livez").await.status, 200);
}

#[tokio::test]
async fn who_says_nothing_is_sent_away_and_keeps_nobody_out() {
    let addr = served(Admin::new(Readiness::default())).await;
    // More than there is room for, each with half a request.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(get(addr, "/livez").await.status, 200);
    for mut stream in silent {
        let mut answer = Vec::new();
        // Closed, if need be with a reset.
        let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = closed.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
    let mut long = TcpStream::connect(addr).await.unwrap();
    let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    let _ = long.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, long.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    assert_eq!(get(addr, "/livez").await.status, 200);
}

/// More than there is room for, some of them already there when the listener begins to accept.
/// The clock stands still while a blocking task runs: nobody is sent away for being slow.
#[tokio::test(start_paused = true)]
async fn the_oldest_that_says_nothing_gives_way() {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let connect = move || {
        let stream = net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let probe = move || {
        let mut stream = connect();
        let head = format!("GET /livez HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let is_alive = |mut stream: net::TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    let early = probe();
    let mut silent: Vec<_> = (0..40).map(|_| connect()).collect();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(Admin::new(Readiness::default()).serve(listener));
    let asks = spawn_blocking(move || {
        is_alive(early);
        silent.extend((0..40).map(|_| connect()));
        is_alive(probe());
        // The last that came are left, as many as there is room for beside it.
        let left = silent.split_off(80 - 15);
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        for mut stream in left {
            stream.set_nonblocking(true).unwrap();
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    });
    asks.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_whether_its_answer_is_read_or_not() {
    let page = "x".repeat(32 << 20);
    let size = page.len();
    let admin = Admin::new(Readiness::default()).page("/big", HTML, move || page.clone());
    let addr = served(admin).await;
    let asks = spawn_blocking(move || {
        let mut stream = net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /big HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        stream.set_nonblocking(true).unwrap();
        stream
    });
    let mut stream = TcpStream::from_std(asks.await.unwrap()).unwrap();
    sleep(Duration::from_secs(10)).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < size, "{}", rest.len());
}

#[tokio::test]
async fn the_engine_is_counted() {
    let counters = Arc::new(Counters::default());
    let config = Config::new().with_observer(Arc::clone(&counters) as Arc<dyn Observer>);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = listener.local_addr().unwrap();
    let router = Router::new().message("ask", async |_: Request| {});
    tokio::spawn(serve(listener, router).with_config(config).into_future());
    let admin = Admin::new(Readiness::default())
        .page("/metrics", PROMETHEUS, move || counters.text("test"));
    let admin = served(admin).await;
    let shows = async |lines: &[&str]| {
        let page = get(admin, "/metrics").await.body;
        lines
            .iter()
            .all(|line| page.lines().any(|own| own == *line))
    };
    assert!(shows(&["test_spop_connections_total 0"]).await);

    let mut client = Client::connect(agent).await.unwrap();
    for _ in 0..3 {
        client.notify("ask", []).await.unwrap();
    }
    assert!(
        shows(&[
            "test_spop_connections 1",
            "test_spop_handshakes_total{result=\"agreed\"} 1",
            "test_spop_notifies_total 3",
            "test_spop_notifies_in_flight 0",
            "test_spop_answer_seconds_count 3",
            "test_spop_write_acks_bucket{le=\"1\"} 3",
            "test_spop_write_acks_count 3",
            // The HELLO's, and each ACK's.
            "test_spop_write_bytes_count 4",
        ])
        .await
    );
    drop(client);
    spop_client::ping(agent).await.unwrap();
    let mut client = Client::connect(agent).await.unwrap();
    client.disconnect(Status::TOO_BIG).await.unwrap();
    let closed = async {
        while !shows(&[
            "test_spop_connections 0",
            "test_spop_connections_closed_total{end=\"eof\"} 1",
            "test_spop_connections_closed_total{end=\"health-check\"} 1",
            "test_spop_connections_closed_total{end=\"haproxy-disconnect\"} 1",
            "test_spop_handshakes_total{result=\"agreed\"} 2",
            "test_spop_handshakes_total{result=\"health-check\"} 1",
            "test_spop_disconnects_total{side=\"haproxy\",code=\"3\"} 1",
            "test_spop_disconnects_total{side=\"agent\",code=\"0\"} 0",
        ])
        .await
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}
