//! Ctrl-C and SIGTERM end a command in order: what it holds is dropped, and with that the
//! processes that it started end.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// What shells report of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs `command` until it ends or a signal comes; then it is dropped.
pub(crate) async fn interruptible(
    command: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = command => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("\nstopped");
    Ok(ExitCode::from(INTERRUPTED))
}
