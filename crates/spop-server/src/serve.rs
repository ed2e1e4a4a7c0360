//! The server's loop: accept, serve, drain.

mod accept;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture, Pending, pending};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::select_all;
use spop_codec::Actions;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::connection::{Phase, Shared};
use crate::error::ServeError;
use crate::listener::Listener;
use crate::notify::Notify;
use accept::{Accept, Accepted, Accepting, Seldom};

/// Serves every connection that `listener` accepts: a [`TcpListener`](tokio::net::TcpListener),
/// a [`UnixListener`](crate::UnixListener), what an [`Endpoint`](crate::Endpoint) gives, or
/// any other [`Listener`]. Await it, after [`and`](Serve::and),
/// [`with_config`](Serve::with_config) and [`with_shutdown`](Serve::with_shutdown) as
/// needed; without a shutdown it runs for ever.
///
/// `service` is cloned for each NOTIFY, and the clone is waited for to be ready; a
/// [`Router`](crate::Router) alone is always ready and asked without.
///
/// # Errors
/// See [`ServeError`]; nothing is accepted if a setting is out of range. What goes wrong
/// with a connection, or with accepting one, never ends the server.
pub fn serve<L, S>(listener: L, service: S) -> Serve<S>
where
    L: Listener,
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    Serve {
        listeners: vec![Box::new(Accepting::new(listener))],
        service,
        config: Config::new(),
        shutdown: pending(),
    }
}

/// The future-to-be of [`serve`].
#[must_use = "a server does nothing unless awaited"]
pub struct Serve<S, F = Pending<()>> {
    listeners: Vec<Box<dyn Accept<S>>>,
    service: S,
    config: Config,
    shutdown: F,
}

impl<S, F> Serve<S, F> {
    /// Serves the connections of another listener as well. The limits and the shutdown are
    /// for all together, and none of the listeners keeps another waiting.
    ///
    /// ```no_run
    /// # use spop_server::{Router, ServeError, UnixListener, serve};
    /// # use tokio::net::TcpListener;
    /// # async fn run(router: Router) -> Result<(), ServeError> {
    /// let tcp = TcpListener::bind("127.0.0.1:9000").await?;
    /// let unix = UnixListener::bind("/run/agent/spop.sock").await?;
    /// serve(tcp, router).and(unix).await
    /// # }
    /// ```
    pub fn and<L>(mut self, listener: L) -> Self
    where
        L: Listener,
        S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        self.listeners.push(Box::new(Accepting::new(listener)));
        self
    }

    /// Replaces the default limits.
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Ends the server, cleanly, once `shutdown` is ready:
    ///
    /// 1. health checks fail, for [`Config::with_lame_duck`];
    /// 2. the listeners close; each connection answers what is in flight, says
    ///    AGENT-DISCONNECT and closes;
    /// 3. after [`Config::with_drain_timeout`] what is left is dropped.
    pub fn with_shutdown<G>(self, shutdown: G) -> Serve<S, G>
    where
        G: Future<Output = ()> + Send + 'static,
    {
        Serve {
            listeners: self.listeners,
            service: self.service,
            config: self.config,
            shutdown,
        }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Serve<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listeners", &self.listeners.len())
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
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
                shared: Arc::new(Shared::new(self.config)),
                connections: JoinSet::new(),
                phase,
                full: false,
                warnings: Seldom::default(),
            };
            server.run(self.listeners, self.shutdown).await;
            Ok(())
        })
    }
}

struct Server<S> {
    service: S,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
    phase: watch::Sender<Phase>,
    /// Whether the limit of connections is reached.
    full: bool,
    warnings: Seldom,
}

impl<S> Server<S>
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    async fn run(
        mut self,
        mut listeners: Vec<Box<dyn Accept<S>>>,
        shutdown: impl Future<Output = ()>,
    ) {
        self.accept_until(&mut listeners, shutdown).await;
        let lame_duck = self.shared.config.lame_duck;
        if !lame_duck.is_zero() {
            info!(time = ?lame_duck, "stopping: health checks fail from now on");
            self.phase.send_replace(Phase::LameDuck);
            self.accept_until(&mut listeners, sleep(lame_duck)).await;
        }
        drop(listeners);
        self.drain().await;
    }

    async fn accept_until(
        &mut self,
        listeners: &mut [Box<dyn Accept<S>>],
        end: impl Future<Output = ()>,
    ) {
        tokio::pin!(end);
        loop {
            let room = self.has_room();
            tokio::select! {
                biased;
                () = &mut end => return,
                Some(ended) = self.connections.join_next() => report(ended),
                accepted = accept_any(listeners, &self.shared), if room => {
                    let connection = accepted(
                        self.service.clone(),
                        Arc::clone(&self.shared),
                        self.phase.subscribe(),
                    );
                    self.connections.spawn(connection);
                }
            }
        }
    }

    /// Beyond the limit connections wait in the kernel, where they cost us nothing.
    fn has_room(&mut self) -> bool {
        let limit = self.shared.config.max_connections;
        let full = self.connections.len() >= limit;
        if full && !self.full {
            if let Some(observer) = &self.shared.config.observer {
                observer.connections_full();
            }
            if self.warnings.is_due(Instant::now()) {
                warn!(limit, "the limit of connections is reached; new ones wait");
            } else {
                debug!(limit, "the limit of connections is reached");
            }
        }
        self.full = full;
        !full
    }

    async fn drain(mut self) {
        self.phase.send_replace(Phase::Draining);
        let all_ended = async {
            while let Some(ended) = self.connections.join_next().await {
                report(ended);
            }
        };
        let limit = self.shared.config.drain_timeout;
        if timeout(limit, all_ended).await.is_err() {
            let connections = self.connections.len();
            warn!(connections, "dropped what was not answered in time");
        }
        self.connections.shutdown().await;
    }
}

/// The next connection of any listener. There is at least one.
async fn accept_any<S>(listeners: &mut [Box<dyn Accept<S>>], shared: &Shared) -> Accepted<S> {
    // The first that has one is taken: let each be the first in its turn.
    listeners.rotate_left(1);
    let next = listeners.iter_mut().map(|listener| listener.accept(shared));
    let (accepted, _, _) = select_all(next).await;
    accepted
}

fn report(ended: Result<(), JoinError>) {
    if let Err(defect) = ended
        && defect.is_panic()
    {
        error!(%defect, "a connection panicked; this is a defect, please report it");
    }
}
