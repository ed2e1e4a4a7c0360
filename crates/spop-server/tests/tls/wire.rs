//! What goes over the wire in one piece, and what becomes of it when the peer is slow.

use std::io;

use spop_client::{Client, haproxy_hello};
use spop_server::tls::TlsListener;
use spop_server::tls::rustls::pki_types::ServerName;
use spop_server::{Listener, Peer, serve};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Files;
use crate::support::recorder::{Recorder, Writes};
use crate::support::{notify, obedient, only};

/// Connections within this process.
struct Given(mpsc::Receiver<Recorder>);

impl Listener for Given {
    type Io = Recorder;

    async fn accept(&mut self) -> io::Result<(Recorder, Peer)> {
        match self.0.recv().await {
            Some(io) => Ok((io, Peer::Local)),
            None => std::future::pending().await,
        }
    }
}

/// An agent whose socket takes so many bytes at a time, after the TLS handshake; and the
/// agent's writes since.
async fn connect(files: &Files, buffer: usize) -> (TlsStream<DuplexStream>, Writes) {
    let (give, given) = mpsc::channel(1);
    let listener = TlsListener::new(Given(given), files.mutual());
    tokio::spawn(serve(listener, obedient()).into_future());
    let (ours, theirs) = tokio::io::duplex(buffer);
    let (recorder, writes) = Recorder::new(theirs);
    assert!(give.send(recorder).await.is_ok());
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(files.client(Some("haproxy.pem")));
    let stream = connector.connect(name, ours).await.unwrap();
    tokio::spawn(async move {
        give.closed().await;
    });
    (stream, writes)
}

/// HAProxy 3.2 gives up on an AGENT-HELLO that comes in two pieces.
#[tokio::test]
async fn the_hello_and_a_batch_of_answers_are_one_record_and_one_write_each() {
    let files = Files::new();
    let (stream, writes) = connect(&files, 1 << 20).await;
    let mut client = Client::handshake(stream, haproxy_hello()).await.unwrap();
    // The end of the handshake (session tickets) goes before.
    let hello = writes.lock().unwrap().pop().unwrap().len();
    assert!(hello > 22, "{hello}");
    writes.lock().unwrap().clear();

    // 20 NOTIFYs in one record are one batch.
    for stream_id in 1..=20 {
        client.queue(&notify(stream_id, "ready")).unwrap();
    }
    client.flush().await.unwrap();
    for _ in 0..20 {
        assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=ready");
    }
    let sizes: Vec<_> = writes.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}

/// Ciphertext that the socket did not take at once must not wait for the next answer.
#[tokio::test]
async fn answers_reach_a_slow_reader_whole() {
    let files = Files::new();
    let (stream, writes) = connect(&files, 300).await;
    let mut client = Client::handshake(stream, haproxy_hello()).await.unwrap();
    for round in 0..5 {
        for stream_id in 1..=20 {
            client.queue(&notify(stream_id, "ready")).unwrap();
        }
        client.flush().await.unwrap();
        for answered in 1..=20 {
            let ack = client.recv_ack().await.unwrap();
            assert_eq!(only(&ack), "sess.how=ready", "{round}: {answered}");
        }
    }
    let largest = writes.lock().unwrap().iter().map(Vec::len).max();
    assert_eq!(largest, Some(300), "the socket was never full");
}
