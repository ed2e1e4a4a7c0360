//! From listeners that are bound to a process that has ended.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::Instant;

use spop_server::admin::{Admin, Readiness};
use spop_server::{Actions, BoundListener, Config, Notify, ServeError, serve};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(feature = "otel")]
use tower_layer::Layer as _;
use tower_service::Service;
use tracing::info;

use crate::descriptors::fitted;
use crate::log::Log;
use crate::systemd;
use crate::traces::Traces;

/// The most threads that serve.
pub(crate) const MAX_THREADS: usize = 1024;

/// `TOKIO_WORKER_THREADS` if nobody sets it: one per CPU, and 1024 at most.
pub fn worker_threads() -> usize {
    available_parallelism().map_or(1, |cpus| cpus.get().min(MAX_THREADS))
}

/// A runtime with so many threads, 1 or more.
///
/// # Errors
/// If the system has no room for it.
///
/// # Panics
/// With 0 threads.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

/// An agent that listens and does not serve yet. From [`listen`](crate::listen()).
#[derive(Debug)]
pub struct Listening {
    spop: BoundListener,
    admin: Option<(TcpListener, SocketAddr)>,
    stop: StopSignals,
    readiness: Readiness,
    traces: Traces,
}

impl Listening {
    pub(crate) fn new(
        spop: BoundListener,
        admin: Option<(TcpListener, SocketAddr)>,
        stop: StopSignals,
    ) -> Self {
        Self {
            spop,
            admin,
            stop,
            readiness: Readiness::default(),
            traces: Traces::off(),
        }
    }

    /// Traces what it answers. What is queued of them at the end is sent in 2 s, or in
    /// what requests in flight leave of the drain timeout, if that is less.
    #[must_use]
    pub fn with_traces(mut self, traces: Traces) -> Self {
        self.traces = traces;
        self
    }

    /// Where HAProxy finds it, with the port that the system chose for port 0.
    pub fn addr(&self) -> String {
        self.spop.endpoint().to_string()
    }

    /// Where metrics and health are shown. `None`: nowhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, addr)| *addr)
    }

    /// An admin listener with `/livez` and `/readyz`, to put pages on. It is ready from the
    /// beginning of [`serve`](Self::serve) to the signal to end.
    pub fn admin(&self) -> Admin {
        Admin::new(self.readiness.clone())
    }

    /// Serves what `service` answers, a [`Router`](spop_server::Router) or layers around one, until
    /// SIGTERM or SIGINT, be it one that came before this, while it listened already;
    /// and then, after `config`'s lame duck, until what is in flight is answered, or its drain
    /// timeout is over.
    ///
    /// As many files are opened as the process may, and there are no more connections than leave
    /// room for others; a warning says so if `config` asks for more.
    ///
    /// `start` is announced once it serves, by `log`: what operators want to know at the start,
    /// beginning with where the agent listens.
    ///
    /// # Errors
    /// As [`spop_server::serve()`].
    pub async fn serve<S>(
        self,
        service: S,
        config: Config,
        admin: Admin,
        log: Log,
        start: &str,
    ) -> Result<(), ServeError>
    where
        S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let listening = format!("listening on {}", self.addr());
        let Self {
            spop,
            admin: listener,
            stop: signals,
            readiness,
            traces,
        } = self;
        let config = fitted(config);
        if let Some((listener, _)) = listener {
            tokio::spawn(admin.serve(listener));
        }
        // Whoever reads that it has started finds it ready.
        readiness.set(true);
        log.announce(start);
        systemd::ready(&listening);
        let longest = config.lame_duck().saturating_add(config.drain_timeout());
        let stopped = Arc::new(OnceLock::new());
        let stop = {
            let stopped = Arc::clone(&stopped);
            async move {
                signals.first().await;
                let _ = stopped.set(Instant::now());
                systemd::stopping(longest);
                readiness.set(false);
            }
        };
        #[cfg(feature = "otel")]
        match traces.spans() {
            Some(spans) => {
                let traced = spans.layer(service);
                serve_until(stop, spop, traced, config).await?;
            }
            None => serve_until(stop, spop, service, config).await?,
        }
        #[cfg(not(feature = "otel"))]
        serve_until(stop, spop, service, config).await?;
        let since = stopped.get().map(Instant::elapsed).unwrap_or_default();
        traces.end(longest.saturating_sub(since)).await;
        info!("stopped");
        Ok(())
    }
}

async fn serve_until<S>(
    stop: impl Future<Output = ()> + Send + 'static,
    listener: BoundListener,
    service: S,
    config: Config,
) -> Result<(), ServeError>
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    serve(listener, service)
        .with_config(config)
        .with_shutdown(stop)
        .await
}

/// SIGTERM and SIGINT, which do not kill from here on.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The first of them, also of those that came meanwhile.
    async fn first(mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!("{name}: failing health checks, answering what is in flight, then ending");
    }
}
