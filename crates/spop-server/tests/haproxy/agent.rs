//! The agent under test, on a thread and a runtime of its own: so it can be stopped, dropped
//! as by a crash, and its warnings are told from those of others.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use spop_server::{Actions, Config, Notify, Request, Router, Scope, serve};
use spop_testkit::port;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tower_service::Service;
use tracing::Level;

use crate::site::until;

/// An agent that answers each `ask` with its id.
pub(crate) fn echo() -> Router {
    let echo = async |request: Request| answer(&request);
    Router::new()
        .message("ask", echo)
        .message("ask-again", echo)
}

/// The request's id, for HAProxy to show.
pub(crate) fn answer(request: &Request) -> Actions {
    Actions::new().set_var(Scope::Transaction, "answer", request.arg("id"))
}

/// What the user asked for.
pub(crate) fn path(request: &Request) -> &str {
    let path = request.arg("path").to_text();
    path.and_then(|path| path.to_str().ok()).unwrap_or_default()
}

/// A running agent. Dropped, it ends at once.
pub(crate) struct Agent {
    addr: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    crash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    warnings: Arc<Mutex<Vec<u8>>>,
}

impl Agent {
    /// On a port of its own.
    pub(crate) fn start<S>(service: S, config: Config) -> Self
    where
        S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        Self::start_at(port::free_addr().unwrap(), service, config)
    }

    /// Where an earlier one was.
    pub(crate) fn start_at<S>(addr: SocketAddr, service: S, config: Config) -> Self
    where
        S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let (shutdown, stopped) = oneshot::channel();
        let (crash, crashed) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let warnings = Arc::default();
        let writer = Writer(Arc::clone(&warnings));
        let thread = thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(Level::WARN)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            let _scope = tracing::subscriber::set_default(subscriber);
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind(addr).await.unwrap();
                ready.send(()).unwrap();
                let server = serve(listener, service)
                    .with_config(config)
                    .with_shutdown(async { stopped.await.unwrap_or_default() });
                tokio::select! {
                    ended = server => ended.unwrap(),
                    _ = crashed => {}
                }
            });
        });
        // An error: the thread panicked, and said why.
        is_ready.recv().unwrap();
        Self {
            addr,
            shutdown: Some(shutdown),
            crash: Some(crash),
            thread: Some(thread),
            warnings,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Begins its orderly end.
    pub(crate) fn stop(&mut self) {
        let _ended_already = self.shutdown.take().unwrap().send(());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        until("the agent ends", async || {
            self.thread.as_ref().is_none_or(JoinHandle::is_finished)
        })
        .await;
        self.thread.take().unwrap().join().unwrap();
    }

    /// The peers of the connections that it has not closed, by what the kernel says.
    pub(crate) fn connections(&self) -> Vec<String> {
        const LISTEN: &str = "0A";
        const TIME_WAIT: &str = "06";
        let port = format!(":{:04X}", self.addr.port());
        let sockets = fs::read_to_string("/proc/self/net/tcp").unwrap();
        sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words[1].ends_with(&port))
            .filter(|words| words[3] != LISTEN && words[3] != TIME_WAIT)
            .map(|words| {
                let (_, port) = words[2].split_once(':').unwrap();
                format!("127.0.0.1:{}", u16::from_str_radix(port, 16).unwrap())
            })
            .collect()
    }

    /// What it logged at level WARN and above.
    pub(crate) fn warnings(&self) -> String {
        String::from_utf8(self.warnings.lock().unwrap().clone()).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.crash.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
