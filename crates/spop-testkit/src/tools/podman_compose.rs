//! podman-compose, the other program that brings compose files up.

use std::process::Command;

use anyhow::{Result, anyhow};

use super::{Program, kept, run_quietly};

/// The package and its version.
const PACKAGE: &str = "podman-compose==1.6.0";

/// The command, and what `PYTHONPATH` must be for it.
///
/// # Errors
/// One line: why it cannot be had.
pub fn podman_compose() -> Result<(Program, std::path::PathBuf)> {
    let tree = kept("podman-compose", |_, root| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-compile"])
            .args(["--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--target")
            .arg(root)
            .arg(PACKAGE);
        run_quietly(&mut pip)
    })
    .map_err(|error| {
        anyhow!(
            "podman-compose is not here and cannot be fetched ({error:#}); \
             Python with pip is needed, type: apt-get install python3-pip"
        )
    })?;
    Ok((Program::at(tree.join("podman_compose.py")), tree))
}
