//! Packages of Python's index, below `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow};

use super::{kept, run_quietly};

/// The directory `name`, in which `package` is installed; with what it depends on, if it is to
/// run.
///
/// # Errors
/// One line: why it cannot be had, and what to type.
pub(super) fn python_package(name: &str, package: &str, dependencies: bool) -> Result<PathBuf> {
    kept(name, |_, root| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
        pip.args(["--disable-pip-version-check", "--root-user-action=ignore"]);
        if !dependencies {
            pip.arg("--no-deps");
        }
        run_quietly(pip.arg("--target").arg(root).arg(package))
    })
    .map_err(|error| {
        anyhow!(
            "{package} is not here and cannot be fetched ({error:#}); Python with pip is needed, \
             type: apt-get install python3-pip"
        )
    })
}
