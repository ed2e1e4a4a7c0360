//! An HTTP/1.1 client that shows what a user of the web service sees.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client as Pool};
use hyper_util::rt::TokioExecutor;

/// One user: its requests share connections and come from one address.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Empty<Bytes>>,
    keep_alive: bool,
}

impl Client {
    /// A client that keeps its connections, from whichever address the system takes.
    pub fn new() -> Self {
        Self::build(None, true)
    }

    /// A client from a given address, such as 127.0.0.2: all of 127.0.0.0/8 is this machine.
    pub fn from(address: impl Into<IpAddr>) -> Self {
        Self::build(Some(address.into()), true)
    }

    /// The same client, with a new connection for each request.
    #[must_use]
    pub fn without_keep_alive(self) -> Self {
        Self {
            keep_alive: false,
            ..self
        }
    }

    fn build(from: Option<IpAddr>, keep_alive: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(from);
        connector.set_nodelay(true);
        let pool = Builder::new(TokioExecutor::new()).build(connector);
        Self { pool, keep_alive }
    }

    /// A GET request, to be sent by [`Request::send`].
    pub fn get(&self, url: impl Into<String>) -> Request<'_> {
        Request {
            client: self,
            url: url.into(),
            headers: Vec::new(),
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Request<'c> {
    client: &'c Client,
    url: String,
    headers: Vec<(String, String)>,
}

impl Request<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// When the request is not valid or no answer comes.
    pub async fn send(self) -> Result<Response> {
        let mut request = hyper::Request::get(&self.url).body(Empty::new())?;
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse()?;
            request.headers_mut().append(name, value.parse()?);
        }
        if !self.client.keep_alive {
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(CONNECTION, close);
        }
        let sent = Instant::now();
        let answer = self.client.pool.request(request).await;
        let (head, body) = answer.with_context(|| self.url.clone())?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            latency: sent.elapsed(),
        })
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// Such as 200 or 429.
    pub status: u16,
    /// All header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From sending (connecting, if need be) to the last byte.
    pub latency: Duration,
}

impl Response {
    /// The value of a header field, if it is there once or more and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
