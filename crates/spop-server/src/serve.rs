//! The listener's loop: accept, serve, drain.

use std::convert::Infallible;
use std::future::{Future, IntoFuture, Pending, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use spop_codec::Actions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower_service::Service;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::connection::{self, Phase};
use crate::error::ServeError;
use crate::notify::Notify;

/// Serves every connection that `listener` accepts. Await it, after
/// [`with_config`](Serve::with_config) and [`with_shutdown`](Serve::with_shutdown) as
/// needed; without a shutdown it runs for ever.
///
/// `service` is cloned for each NOTIFY, and the clone is waited for to be ready.
///
/// # Errors
/// See [`ServeError`]; nothing is accepted if a setting is out of range.
pub fn serve<S>(listener: TcpListener, service: S) -> Serve<S> {
    Serve {
        listener,
        service,
        config: Config::new(),
        shutdown: pending(),
    }
}

/// The future-to-be of [`serve`].
#[derive(Debug)]
#[must_use = "a server does nothing unless awaited"]
pub struct Serve<S, F = Pending<()>> {
    listener: TcpListener,
    service: S,
    config: Config,
    shutdown: F,
}

impl<S, F> Serve<S, F> {
    /// Replaces the default limits.
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Ends the server, cleanly, once `shutdown` is ready:
    ///
    /// 1. health checks fail, for [`Config::with_lame_duck`];
    /// 2. the listener closes; each connection answers what is in flight, says
    ///    AGENT-DISCONNECT and closes;
    /// 3. after [`Config::with_drain_timeout`] what is left is dropped.
    pub fn with_shutdown<G>(self, shutdown: G) -> Serve<S, G>
    where
        G: Future<Output = ()> + Send + 'static,
    {
        Serve {
            listener: self.listener,
            service: self.service,
            config: self.config,
            shutdown,
        }
    }
}

impl<S, F> IntoFuture for Serve<S, F>
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = Result<(), ServeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.config.validate()?;
            let (phase, _) = watch::channel(Phase::Serving);
            let server = Server {
                service: self.service,
                lame_duck: self.config.lame_duck,
                drain_timeout: self.config.drain_timeout,
                config: Arc::new(self.config),
                connections: JoinSet::new(),
                phase,
            };
            server.run(self.listener, self.shutdown).await;
            Ok(())
        })
    }
}

struct Server<S> {
    service: S,
    config: Arc<Config>,
    lame_duck: Duration,
    drain_timeout: Duration,
    connections: JoinSet<()>,
    phase: watch::Sender<Phase>,
}

impl<S> Server<S>
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    async fn run(mut self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        self.accept_until(&listener, shutdown).await;
        if !self.lame_duck.is_zero() {
            info!(time = ?self.lame_duck, "stopping: health checks fail from now on");
            self.phase.send_replace(Phase::LameDuck);
            self.accept_until(&listener, sleep(self.lame_duck)).await;
        }
        drop(listener);
        self.drain().await;
    }

    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut pause = Duration::ZERO;
        let mut resume = Instant::now();
        loop {
            let room = self.connections.len() < self.config.max_connections;
            tokio::select! {
                biased;
                () = &mut end => return,
                Some(ended) = self.connections.join_next() => report(ended),
                accepted = accept(listener, resume), if room => match accepted {
                    Ok((stream, peer)) => {
                        pause = Duration::ZERO;
                        self.serve(stream, peer);
                    }
                    // Out of file descriptors, or a peer that is gone already: neither may
                    // end the server, nor keep it spinning.
                    Err(error) => {
                        warn!(%error, "accept failed");
                        pause = (pause * 2).clamp(Duration::from_millis(5), Duration::from_secs(1));
                        resume = Instant::now() + pause;
                    }
                },
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Without it an answer waits for the kernel's acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            warn!(%peer, %error, "TCP_NODELAY");
        }
        self.connections.spawn(connection::run(
            stream,
            Some(peer),
            self.service.clone(),
            Arc::clone(&self.config),
            self.phase.subscribe(),
        ));
    }

    async fn drain(mut self) {
        self.phase.send_replace(Phase::Draining);
        let all_ended = async {
            while let Some(ended) = self.connections.join_next().await {
                report(ended);
            }
        };
        if timeout(self.drain_timeout, all_ended).await.is_err() {
            let connections = self.connections.len();
            warn!(connections, "dropped what was not answered in time");
        }
        self.connections.shutdown().await;
    }
}

async fn accept(listener: &TcpListener, resume: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    if Instant::now() < resume {
        sleep_until(resume).await;
    }
    listener.accept().await
}

fn report(ended: Result<(), JoinError>) {
    if let Err(defect) = ended
        && defect.is_panic()
    {
        error!(%defect, "a connection panicked; this is a defect, please report it");
    }
}
