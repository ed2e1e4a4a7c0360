//! Each limit of the engine: what happens there, when to the instant, and what the observer is
//! told. In virtual time; limits of connections are in `listeners.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod amounts;
mod memory;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod waits;

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use spop_client::Client;
use spop_client::spop_codec::{Flags, FrameType, HaproxyHello, Header, RawFrame};
use spop_server::{
    Actions, Config, ConnectionEnd, Failure, Listener, Observer, Peer, Request, Scope, serve,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use support::obedient;

/// A server whose connections are pipes.
pub(crate) struct Agent {
    pipes: UnboundedSender<DuplexStream>,
    told: Arc<Mutex<Told>>,
}

/// What the observer was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) received: usize,
    pub(crate) paused: usize,
    pub(crate) too_big: usize,
    pub(crate) failures: BTreeMap<&'static str, usize>,
    pub(crate) slowest: Duration,
    pub(crate) written: usize,
    pub(crate) largest_write: usize,
    pub(crate) ends: Vec<&'static str>,
}

impl Agent {
    pub(crate) fn start(config: Config) -> Self {
        let (pipes, receiver) = unbounded_channel();
        let told = Arc::default();
        let config = config.with_observer(Arc::new(Tell(Arc::clone(&told))));
        // A variable of so many bytes.
        let handlers = obedient().message("sized", async |request: Request| {
            let bytes = request.arg("bytes").to_u64().unwrap();
            let value = "x".repeat(usize::try_from(bytes).unwrap());
            Actions::new().set_var(Scope::Session, "sized", value.as_str())
        });
        let server = serve(Pipes(receiver), handlers).with_config(config);
        tokio::spawn(server.into_future());
        Self { pipes, told }
    }

    /// A connection through a pipe with room for so many bytes each way.
    pub(crate) fn pipe(&self, room: usize) -> DuplexStream {
        let (haproxy, agent) = tokio::io::duplex(room);
        self.pipes.send(agent).unwrap();
        haproxy
    }

    /// A connection that has shaken hands, and is patient.
    pub(crate) async fn client(&self, hello: HaproxyHello) -> Client<DuplexStream> {
        let mut client = Client::handshake(self.pipe(1 << 20), hello).await.unwrap();
        client.set_timeout(None);
        client
    }

    pub(crate) fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }
}

/// HAProxy's HELLO with its defaults.
pub(crate) fn hello() -> HaproxyHello {
    HaproxyHello::new(16_380, "bounds")
}

/// Lets everybody do all they can do without the time to pass; then a millisecond does.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A frame, or a part of one, of 4 and 7 bytes more than its payload.
pub(crate) fn frame(frame_type: FrameType, flags: Flags, payload: &[u8]) -> BytesMut {
    let header = Header {
        frame_type,
        flags,
        stream_id: 1,
        frame_id: 1,
    };
    let mut wire = BytesMut::new();
    RawFrame::new(header, payload.to_vec().into()).encode(&mut wire);
    wire
}

struct Pipes(UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.recv().await {
            Some(pipe) => Ok((pipe, Peer::Local)),
            None => pending().await,
        }
    }
}

struct Tell(Arc<Mutex<Told>>);

impl Observer for Tell {
    fn closed(&self, end: &ConnectionEnd, _: usize) {
        self.0.lock().unwrap().ends.push(end.as_str());
    }

    fn received(&self) {
        self.0.lock().unwrap().received += 1;
    }

    fn paused(&self) {
        self.0.lock().unwrap().paused += 1;
    }

    fn notify_too_big(&self) {
        self.0.lock().unwrap().too_big += 1;
    }

    fn answered(&self, failure: Option<Failure>, elapsed: Duration) {
        let mut told = self.0.lock().unwrap();
        told.slowest = told.slowest.max(elapsed);
        if let Some(failure) = failure {
            *told.failures.entry(failure.as_str()).or_default() += 1;
        }
    }

    fn written(&self, bytes: usize) {
        let mut told = self.0.lock().unwrap();
        told.written += bytes;
        told.largest_write = told.largest_write.max(bytes);
    }
}
