//! The collector, over HTTP.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::crypto::ring;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::agent::Chain;
use crate::traces::TracesError;

/// Of an answer. It says how many spans were refused, and why.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Sends each request over a connection of its own, from the thread that asks, in a runtime of
/// its own: between two batches there is nothing that could go stale, and the threads that answer
/// HAProxy have no part in it.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    connector: HttpsConnector<HttpConnector>,
    timeout: Duration,
    /// What the last request came to that had no answer.
    failure: Arc<Mutex<Option<String>>>,
}

impl Collector {
    /// One that gets so long to answer. Certificates are checked against public authorities.
    pub(super) fn new(timeout: Duration) -> Result<Self, TracesError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(ring::default_provider())
            .map_err(|error| TracesError::Exporter(error.to_string()))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            connector,
            timeout,
            failure: Arc::default(),
        })
    }

    /// What the last request came to, if it had no answer.
    pub(super) fn failure(&self) -> Option<String> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let exchange = exchange(self.connector.clone(), request);
        let answer = runtime.block_on(async { timeout(self.timeout, exchange).await });
        // A resolver may still be at it.
        runtime.shutdown_background();
        answer?
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        let failed = answer.as_ref().err().map(|error| {
            let error: &(dyn Error + 'static) = &**error;
            Chain(error).to_string()
        });
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        answer
    }
}

async fn exchange(
    connector: HttpsConnector<HttpConnector>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
