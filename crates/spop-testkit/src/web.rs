//! A web service to put behind HAProxy: it says hello.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Answers every request with 200 and `hello`, on a free loopback port, until dropped.
#[derive(Debug)]
pub struct Web {
    addr: SocketAddr,
    service: JoinHandle<()>,
}

impl Web {
    /// Starts it on the runtime of the caller.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let hello = Router::new().fallback(any(async || "hello\n"));
        let service = tokio::spawn(async move {
            // It ends only with an error of the listener, which HAProxy's check then shows.
            let _ = axum::serve(listener, hello).await;
        });
        Ok(Self { addr, service })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.service.abort();
    }
}
