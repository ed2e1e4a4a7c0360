//! Runs programs other than Cargo: the compiler, git, podman, skopeo.

use std::io::ErrorKind;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Runs it to its end and returns what it prints, without white space around it.
pub(super) async fn said(command: &mut Command) -> Result<String> {
    let name = name_of(command);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed: {}", why.trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Runs it to its end with its output shown.
pub(super) async fn run(command: &mut Command) -> Result<()> {
    let name = name_of(command);
    let status = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{name} cannot be run"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Whether there is such a program on `PATH`.
pub(super) async fn exists(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("--version").stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await;
    !output.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn name_of(command: &Command) -> String {
    command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned()
}
