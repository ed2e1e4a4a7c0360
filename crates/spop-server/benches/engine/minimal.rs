//! The agent on spop-server, in its two forms.

use std::io;

use spop_server::{Actions, Request, Router, Scope, serve};

use crate::listen;

/// With the handler as an async function.
pub(crate) fn asynchronous() -> Router {
    Router::new().message("check-rate", async |request: Request| {
        score(request.arg("ip_src").to_ip().is_some())
    })
}

/// With the handler as a function of the borrowed request.
pub(crate) fn borrowed() -> Router {
    Router::new().message_ref("check-rate", |request| {
        score(request.arg("ip_src").to_ip().is_some())
    })
}

fn score(is_known: bool) -> Actions {
    match is_known {
        true => Actions::new().set_var(Scope::Session, "ip_score", 0),
        false => Actions::new(),
    }
}

pub(crate) async fn run(router: Router) -> io::Result<()> {
    let terminated = listen::terminated()?;
    let listener = listen::bind().await?;
    serve(listener, router)
        .with_shutdown(terminated)
        .await
        .map_err(io::Error::other)
}
