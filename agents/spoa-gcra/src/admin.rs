//! The admin listener: metrics and health over HTTP/1.1, for whoever runs the agent.
//!
//! | path | |
//! |---|---|
//! | `/metrics` | [`Metrics`], as Prometheus reads them |
//! | `/livez` | 200: the process answers |
//! | `/readyz` | 200 while the agent serves; 503 before that, and from the signal to stop on |
//!
//! Everything else is 404, and every method but GET and HEAD is 405. There is no TLS and no
//! password: it is for the machine itself or for a network that only its operators are in.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use crate::metrics::{Metrics, TEXT_FORMAT};

/// Connections at a time; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 16;
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// How long a connection may last, with the one request that it is for.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The longest request line and headers, in bytes.
const MAX_HEAD: usize = 8192;
/// After accepting failed: out of file descriptors, most of the time.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether the agent serves. Clones share it; at first it does not.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    ready: Arc<AtomicBool>,
}

impl Readiness {
    /// It serves from now on, or not any more.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn get(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return; // never: nobody closes it
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot accept a connection for metrics");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        tokio::spawn(async move {
            connection(stream, &metrics, &readiness).await;
            drop(place);
        });
    }
}

/// One request: those who ask come seldom.
async fn connection(stream: TcpStream, metrics: &Metrics, readiness: &Readiness) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(
            answer(request.method(), request.uri().path(), metrics, readiness).await,
        )
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
        debug!(%error, "a connection for metrics failed");
    }
}

async fn answer(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<String> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let methods = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, methods);
        return response;
    }
    match path {
        "/metrics" => page(metrics.clone()).await,
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" if readiness.get() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
        _ => text(StatusCode::NOT_FOUND, "/metrics, /livez or /readyz\n"),
    }
}

/// Made where nobody's request waits for it.
async fn page(metrics: Metrics) -> Response<String> {
    match spawn_blocking(move || metrics.text()).await {
        Ok(page) => {
            let mut response = Response::new(page);
            let format = HeaderValue::from_static(TEXT_FORMAT);
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        Err(error) => {
            error!(%error, "no metrics; this is a defect, please report it");
            text(StatusCode::INTERNAL_SERVER_ERROR, "see the agent's log\n")
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    let format = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}
