//! What goes over the wire in one piece, and what becomes of it when the peer is slow.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use spop_client::{Client, haproxy_hello};
use spop_server::tls::TlsListener;
use spop_server::tls::rustls::pki_types::ServerName;
use spop_server::{Listener, Peer, serve};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Files;
use crate::support::{notify, obedient, only};

/// Connections within this process.
struct Given(mpsc::Receiver<Recorded>);

impl Listener for Given {
    type Io = Recorded;

    async fn accept(&mut self) -> io::Result<(Recorded, Peer)> {
        match self.0.recv().await {
            Some(io) => Ok((io, Peer::Local)),
            None => std::future::pending().await,
        }
    }
}

/// Remembers the size of each write.
struct Recorded {
    io: DuplexStream,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(size)) = written {
            self.writes.lock().unwrap().push(size);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// An agent whose socket takes so many bytes at a time, after the TLS handshake; and the
/// sizes of the agent's writes since.
async fn connect(
    files: &Files,
    buffer: usize,
) -> (TlsStream<DuplexStream>, Arc<Mutex<Vec<usize>>>) {
    let (give, given) = mpsc::channel(1);
    let listener = TlsListener::new(Given(given), files.mutual());
    tokio::spawn(serve(listener, obedient()).into_future());
    let (ours, theirs) = tokio::io::duplex(buffer);
    let writes = Arc::new(Mutex::default());
    let recorded = Recorded {
        io: theirs,
        writes: Arc::clone(&writes),
    };
    assert!(give.send(recorded).await.is_ok());
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
    let hello = writes.lock().unwrap().pop().unwrap();
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
    let sizes = writes.lock().unwrap().clone();
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
    let largest = writes.lock().unwrap().iter().max().copied();
    assert_eq!(largest, Some(300), "the socket was never full");
}
