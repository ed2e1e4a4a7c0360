//! TLS: who gets in, what goes over the wire in one piece, and real HAProxys.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "tls/authority.rs"]
mod authority;
#[cfg(feature = "e2e")]
#[path = "tls/haproxy.rs"]
mod haproxy;
#[path = "tls/identity.rs"]
mod identity;
mod support;
#[path = "tls/wire.rs"]
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authority::Files;
use spop_client::{Client, ClientError, Connection, haproxy_hello, ping};
use spop_server::tls::TlsListener;
use spop_server::tls::rustls::pki_types::ServerName;
use spop_server::tls::rustls::{ClientConfig, ServerConfig};
use spop_server::{AgentConfig, Config, ConnectionEnd, Observer, ServeError, serve};
use support::{obedient, only};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Keeps how connections ended.
#[derive(Default)]
pub(crate) struct Ends(Mutex<Vec<String>>);

impl Observer for Ends {
    fn closed(&self, end: &ConnectionEnd, _: usize) {
        let end = match end {
            ConnectionEnd::Io(error) => error.to_string(),
            end => end.as_str().to_owned(),
        };
        self.0.lock().unwrap().push(end);
    }
}

impl Ends {
    /// Waits for so many.
    pub(crate) async fn wait(&self, count: usize) -> Vec<String> {
        loop {
            let ends = self.0.lock().unwrap().clone();
            if ends.len() >= count {
                return ends;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) ends: Arc<Ends>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

pub(crate) async fn start(tls: Arc<ServerConfig>, config: Config) -> Agent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ends = Arc::new(Ends::default());
    let (stop, stopped) = oneshot::channel();
    let server = serve(TlsListener::new(listener, tls), obedient())
        .with_config(config.with_observer(Arc::clone(&ends) as _))
        .with_shutdown(async {
            stopped.await.ok();
        });
    Agent {
        address,
        ends,
        stop,
        served: tokio::spawn(server.into_future()),
    }
}

/// The TLS handshake only.
pub(crate) async fn secure(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<Client<TlsStream<TcpStream>>, ClientError> {
    let stream = secure(address, config).await.map_err(ClientError::Io)?;
    Client::over(Connection::new(stream), haproxy_hello()).await
}

#[tokio::test]
async fn a_client_with_a_certificate_is_served_and_told_goodbye() {
    let files = Files::new();
    let agent = start(files.mutual(), Config::new()).await;
    let known = files.client(Some("haproxy.pem"));
    let mut client = connect(agent.address, known).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");

    agent.stop.send(()).unwrap();
    let end = client.recv().await;
    assert!(matches!(end, Err(ClientError::Disconnected(_))), "{end:?}");
    // Only close_notify reads as an end; without it this would be an error.
    let (stream, rest) = (client.into_connection().into_inner(), &mut Vec::new());
    let mut stream = stream;
    assert_eq!(stream.read_to_end(rest).await.unwrap(), 0);
    drop(stream);
    agent.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn strangers_are_refused_and_the_others_do_not_notice() {
    let files = Files::new();
    let agent = start(files.mutual(), Config::new()).await;
    let known = files.client(Some("haproxy.pem"));
    let mut client = connect(agent.address, known).await.unwrap();

    let stranger = connect(agent.address, files.client(Some("stranger.pem"))).await;
    assert!(stranger.is_err());
    let nobody = connect(agent.address, files.client(None)).await;
    assert!(nobody.is_err());
    // One that does not speak TLS, and one that only looks whether the port is open.
    assert!(ping(agent.address).await.is_err());
    drop(TcpStream::connect(agent.address).await.unwrap());
    // Nor need it trust us.
    // (Of the same name, and with another key.)
    let elsewhere = Files::new();
    let distrustful = connect(agent.address, elsewhere.client(Some("haproxy.pem"))).await;
    assert!(distrustful.is_err());

    let ends = agent.ends.wait(5).await;
    for expected in [
        "TLS handshake: invalid peer certificate: UnknownIssuer",
        "TLS handshake: peer sent no certificates (is `crt` missing on HAProxy's server line?)",
        "TLS handshake: received corrupt message of type InvalidContentType \
         (is `ssl` missing on HAProxy's server line?)",
        "TLS handshake: received fatal alert: DecryptError",
        "eof",
    ] {
        assert!(ends.iter().any(|end| end == expected), "{ends:#?}");
    }
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_keeps_nobody_waiting_and_is_ended() {
    let files = Files::new();
    let agent_config = AgentConfig::new().with_hello_timeout(Duration::from_millis(300));
    let agent = start(files.mutual(), Config::new().with_agent(agent_config)).await;
    let mut mute = TcpStream::connect(agent.address).await.unwrap();
    let mut half = TcpStream::connect(agent.address).await.unwrap();
    // The beginning of a ClientHello.
    half.write_all(&[22, 3, 1, 1, 0, 1, 0, 0, 252])
        .await
        .unwrap();

    let known = files.client(Some("haproxy.pem"));
    let mut client = connect(agent.address, known).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");

    assert_eq!(agent.ends.wait(2).await, ["hello-timeout"; 2]);
    assert_eq!(mute.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(half.read(&mut [0; 8]).await.unwrap_or(0), 0);
}
