//! The admin listener: metrics and health over HTTP/1.1, for whoever runs the agent. Needs the
//! feature `admin`.
//!
//! | path | |
//! |---|---|
//! | `/livez` | 200: the process answers |
//! | `/readyz` | 200 while the agent serves; 503 before that, and from the signal to stop on, and while a [condition](Admin::ready_if) does not hold |
//! | any other | a [page](Admin::page) of the agent's own, such as `/metrics` |
//!
//! Everything else is 404, and every method but GET and HEAD is 405. There is no TLS and no
//! password: it is for the machine itself or for a network that only its operators are in.
//!
//! A browser on such a machine also runs pages of strangers, so answers say that they are for
//! nobody's frame, no other site's script, no cache, and only what their content type says. Who
//! comes to a loopback address is answered only when asking by an address or by `localhost`, and
//! gets 421 otherwise, wherever else the listener listens: a stranger's name that has been made
//! to resolve to 127.0.0.1 (DNS rebinding) is of no use to him.
//!
//! A connection is for one request. Whoever else reaches the listener cannot keep a prober out by
//! connections that say nothing:
//!
//! | limit | | beyond it |
//! |---|---|---|
//! | connections | 16 | the oldest whose request has not come is closed; if all are being answered, new ones wait |
//! | time for the request to come | 3 s | the connection is closed |
//! | time of a connection, with its answer | 10 s | the connection is closed |
//! | request line and headers | 8 KiB | 431 |
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use spop_server::admin::{Admin, Counters, PROMETHEUS, Readiness};
//! use spop_server::{Config, Observer, Router, ServeError, serve};
//! use tokio::net::TcpListener;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), ServeError> {
//!     let counters = Arc::new(Counters::default());
//!     let config = Config::new().with_observer(Arc::clone(&counters) as Arc<dyn Observer>);
//!     let ready = Readiness::default();
//!     let admin = Admin::new(ready.clone())
//!         .page("/metrics", PROMETHEUS, move || counters.text("my_agent"));
//!     tokio::spawn(admin.serve(TcpListener::bind("127.0.0.1:9001").await?));
//!
//!     let listener = TcpListener::bind("127.0.0.1:9000").await?;
//!     ready.set(true);
//!     serve(listener, Router::new()).with_config(config).await
//! }
//! ```

mod connections;
mod counters;
mod exposition;
mod histogram;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use connections::{Asked, Connections};
pub use counters::Counters;
pub use exposition::Exposition;
pub use histogram::{Histogram, HistogramCounts};

/// The content type of Prometheus' text format.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// The content type of JSON documents.
pub const JSON: &str = "application/json";

/// The content type of HTML pages.
pub const HTML: &str = "text/html; charset=utf-8";

/// Sent with each answer; see the module's documentation.
const PROTECTION: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// How long a connection may last, with the one request that it is for.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The longest request line and headers, in bytes.
const MAX_HEAD: usize = 8192;
/// After accepting failed: out of file descriptors, most of the time.
const PAUSE: Duration = Duration::from_millis(200);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

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

/// What the admin listener shows. Pages are made when somebody asks for them.
#[must_use = "it shows nothing unless served"]
pub struct Admin {
    readiness: Readiness,
    conditions: Vec<Box<dyn Fn() -> bool + Send + Sync>>,
    pages: Vec<Page>,
}

struct Page {
    path: &'static str,
    content_type: HeaderValue,
    text: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Admin {
    /// `/livez` and `/readyz`, and no pages yet.
    pub fn new(readiness: Readiness) -> Self {
        Self {
            readiness,
            conditions: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// What has to hold, too, for `/readyz` to be 200: that a database answers, say. It must
    /// not block.
    pub fn ready_if(mut self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Box::new(condition));
        self
    }

    /// A page, such as `/metrics`. The function is called on a thread where it may take its
    /// time. A `content_type` that HTTP does not allow is plain text.
    pub fn page(
        mut self,
        path: &'static str,
        content_type: &'static str,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.pages.push(Page {
            path,
            content_type: HeaderValue::from_str(content_type).unwrap_or(TEXT),
            text: Arc::new(text),
        });
        self
    }

    /// Serves for ever. Whoever is slow, or asks for too much, is sent away.
    pub async fn serve(self, listener: TcpListener) {
        let admin = Arc::new(self);
        let mut connections = Connections::default();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "cannot accept an admin connection");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let admin = Arc::clone(&admin);
            connections
                .start(async move |asked| admin.connection(stream, asked).await)
                .await;
        }
    }

    /// One request: those who ask come seldom.
    async fn connection(&self, stream: TcpStream, asked: Asked) {
        // Of the connection: one to 127.0.0.1 comes to a listener on 0.0.0.0, too.
        let local = stream
            .local_addr()
            .is_ok_and(|addr| addr.ip().to_canonical().is_loopback());
        let service = service_fn(async |request: Request<Incoming>| {
            asked.set();
            let mut response = if local && !is_for_this_machine(request.headers()) {
                let why = "ask for this listener by its address, or as localhost\n";
                text(StatusCode::MISDIRECTED_REQUEST, why)
            } else {
                self.answer(request.method(), request.uri().path()).await
            };
            let headers = response.headers_mut();
            for (name, value) in PROTECTION {
                headers.insert(name, HeaderValue::from_static(value));
            }
            Ok::<_, Infallible>(response)
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
            debug!(%error, "an admin connection failed");
        }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let methods = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, methods);
            return response;
        }
        match path {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if !self.readiness.get() => unavailable("not serving\n"),
            "/readyz" if !self.conditions.iter().all(|holds| holds()) => {
                unavailable("serving, but not ready\n")
            }
            "/readyz" => text(StatusCode::OK, "ready\n"),
            _ => match self.pages.iter().find(|page| page.path == path) {
                Some(page) => page.response().await,
                None => text(StatusCode::NOT_FOUND, self.paths()),
            },
        }
    }

    /// What there is, a line each.
    fn paths(&self) -> String {
        let pages = self.pages.iter().map(|page| page.path);
        let paths = pages.chain(["/livez", "/readyz"]);
        paths.map(|path| format!("{path}\n")).collect()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages: Vec<_> = self.pages.iter().map(|page| page.path).collect();
        f.debug_struct("Admin")
            .field("readiness", &self.readiness)
            .field("pages", &pages)
            .finish_non_exhaustive()
    }
}

impl Page {
    /// Made where nobody's request waits for it.
    async fn response(&self) -> Response<String> {
        let make = Arc::clone(&self.text);
        match spawn_blocking(move || make()).await {
            Ok(body) => {
                let mut response = Response::new(body);
                let content_type = self.content_type.clone();
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                response
            }
            Err(error) => {
                let page = self.path;
                error!(page, %error, "no page; this is a defect, please report it");
                text(StatusCode::INTERNAL_SERVER_ERROR, "see the agent's log\n")
            }
        }
    }
}

/// Whether the request names an address or `localhost`. One without a name is no browser's.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let host = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host else {
        return false;
    };
    let name = host.host();
    // IPv6 addresses are in brackets.
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn unavailable(body: &str) -> Response<String> {
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
