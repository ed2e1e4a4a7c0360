//! Where an agent listens, and when it ends: the same for all of them.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// Listens on a free loopback port, and says on which.
pub(crate) async fn bind() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Ready once SIGTERM came.
pub(crate) fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = signal(SignalKind::terminate())?;
    Ok(async move {
        signals.recv().await;
    })
}

/// Serves each connection in a task of its own until SIGTERM.
pub(crate) async fn each<F>(serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let terminated = terminated()?;
    tokio::pin!(terminated);
    let listener = bind().await?;
    loop {
        tokio::select! {
            () = &mut terminated => return Ok(()),
            accepted = listener.accept() => {
                let connection = serve(accepted?.0);
                // HAProxy ends connections in all manners; none is of interest here.
                tokio::spawn(async { connection.await.ok() });
            }
        }
    }
}
