//! The server over TCP: health checks, several connections, and the ways to end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use spop_client::spop_codec::Status;
use spop_client::{Client, ClientError, ping};
use spop_server::{AgentConfig, Config, ServeError, serve};
use support::{notify, obedient, only, slow};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

async fn start(config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = serve(listener, obedient())
        .with_config(config)
        .with_shutdown(async {
            stopped.await.ok();
        });
    Running {
        addr,
        stop,
        served: tokio::spawn(server.into_future()),
    }
}

#[tokio::test]
async fn it_serves_and_stops_when_idle() {
    let server = start(Config::new()).await;
    assert!(ping(server.addr).await.unwrap().closed);
    let mut one = Client::connect(server.addr).await.unwrap();
    let mut two = Client::connect(server.addr).await.unwrap();
    for client in [&mut one, &mut two] {
        assert_eq!(
            only(&client.notify("ready", []).await.unwrap()),
            "sess.how=ready"
        );
    }
    server.stop.send(()).unwrap();
    for client in [&mut one, &mut two] {
        match client.recv().await {
            Err(ClientError::Disconnected(bye)) => assert_eq!(bye.status, Status::NORMAL),
            other => panic!("{other:?}"),
        }
        client.closed().await.unwrap();
    }
    drop((one, two));
    server.served.await.unwrap().unwrap();
    assert!(matches!(
        ping(server.addr).await,
        Err(ClientError::Connect(_))
    ));
}

#[tokio::test]
async fn what_is_in_flight_is_answered_first() {
    let server = start(Config::new().with_drain_timeout(Duration::MAX)).await;
    let mut client = Client::connect(server.addr).await.unwrap();
    client.queue(&slow(1, 300)).unwrap();
    client.queue(&notify(3, "ready")).unwrap();
    assert_eq!(client.recv_ack().await.unwrap().stream_id(), 3);
    server.stop.send(()).unwrap();
    assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=slow");
    assert!(matches!(
        client.recv().await,
        Err(ClientError::Disconnected(_))
    ));
    client.closed().await.unwrap();
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn health_checks_fail_first() {
    let config = Config::new()
        .with_lame_duck(Duration::MAX)
        .with_keepalive(Some(Duration::MAX));
    let server = start(config).await;
    let mut client = Client::connect(server.addr).await.unwrap();
    server.stop.send(()).unwrap();
    loop {
        match ping(server.addr).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(ClientError::Disconnected(bye)) => {
                assert_eq!(bye.status, Status::RESOURCE);
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    // Everything else goes on, on old connections and on new ones.
    assert_eq!(
        only(&client.notify("ready", []).await.unwrap()),
        "sess.how=ready"
    );
    let mut late = Client::connect(server.addr).await.unwrap();
    assert_eq!(
        only(&late.notify("ready", []).await.unwrap()),
        "sess.how=ready"
    );
    server.served.abort();
}

#[tokio::test]
async fn a_handler_that_never_answers_does_not_keep_the_server() {
    let config = Config::new()
        .with_handler_timeout(Duration::from_secs(3600))
        .with_drain_timeout(Duration::from_millis(100));
    let server = start(config).await;
    let mut client = Client::connect(server.addr).await.unwrap();
    client.queue(&notify(1, "never")).unwrap();
    client.queue(&notify(3, "ready")).unwrap();
    assert_eq!(client.recv_ack().await.unwrap().stream_id(), 3);
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    assert!(client.recv().await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = start(Config::new().with_max_connections(2)).await;
    let first = Client::connect(server.addr).await.unwrap();
    let _second = Client::connect(server.addr).await.unwrap();
    let third = tokio::spawn(Client::connect(server.addr));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!third.is_finished());
    drop(first);
    third.await.unwrap().unwrap();
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tiny = Config::new().with_agent(AgentConfig::new().with_max_frame_size(255));
    let refused = serve(listen().await, obedient()).with_config(tiny).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "a setting is out of range: max-frame-size is 255, not 256 to 16777216 bytes"
    );
    let none = Config::new().with_max_connections(0);
    let refused = serve(listen().await, obedient()).with_config(none).await;
    assert!(matches!(refused, Err(ServeError::NoConnections)));
}
