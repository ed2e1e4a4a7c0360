//! A policy as middleware: clients from some countries are denied before any handler is
//! asked. HAProxy finds out the country:
//!
//! ```text
//! spoe-message check-ip
//!     args ip_src=src country=src,map_ip(/etc/haproxy/countries.map)
//!     event on-client-session
//! ```

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use spop_server::{Actions, Request, Router, Scope, ServeError, serve};
use tokio::net::TcpListener;
use tower::{Layer, Service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    let listener = TcpListener::bind("127.0.0.1:9000").await?;
    serve(listener, agent()).await
}

/// The handler, and the policy around it.
pub fn agent() -> Router {
    Router::new()
        .message("check-ip", check)
        .layer(DenyLayer::countries(["AQ", "XX"]))
}

async fn check(request: Request) -> Actions {
    let inside = request
        .arg("ip_src")
        .to_ip()
        .is_some_and(|ip| ip.is_loopback());
    let score = if inside { 0 } else { 50 };
    Actions::new().set_var(Scope::Session, "ip_score", score)
}

/// Answers requests from some countries by itself: `ip_score` is 100.
#[derive(Debug, Clone)]
pub struct DenyLayer {
    countries: Arc<[&'static str]>,
}

impl DenyLayer {
    /// Countries as HAProxy's map has them.
    pub fn countries(countries: impl Into<Arc<[&'static str]>>) -> Self {
        Self {
            countries: countries.into(),
        }
    }
}

impl<S> Layer<S> for DenyLayer {
    type Service = Deny<S>;

    fn layer(&self, inner: S) -> Deny<S> {
        Deny {
            inner,
            countries: Arc::clone(&self.countries),
        }
    }
}

/// The service that [`DenyLayer`] makes.
#[derive(Debug, Clone)]
pub struct Deny<S> {
    inner: S,
    countries: Arc<[&'static str]>,
}

impl<S> Service<Request> for Deny<S>
where
    S: Service<Request, Response = Actions>,
{
    type Response = Actions;
    type Error = S::Error;
    type Future = Either<Ready<Result<Actions, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let country = request.arg("country").to_text();
        if country.is_some_and(|text| self.countries.iter().any(|denied| text == **denied)) {
            // `inner` was made ready for nothing. A route drops this instance after the call,
            // and with it whatever `inner` reserved.
            let denied = Actions::new().set_var(Scope::Session, "ip_score", 100);
            return Either::Left(ready(Ok(denied)));
        }
        Either::Right(self.inner.call(request))
    }
}
