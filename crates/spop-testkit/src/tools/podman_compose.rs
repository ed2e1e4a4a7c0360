//! podman-compose, the other program that brings compose files up.

use std::path::PathBuf;

use anyhow::Result;

use super::Program;
use super::python::python_package;

/// The package and its version.
const PACKAGE: &str = "podman-compose==1.6.0";

/// The command, and what `PYTHONPATH` must be for it.
///
/// # Errors
/// One line: why it cannot be had.
pub fn podman_compose() -> Result<(Program, PathBuf)> {
    let tree = python_package("podman-compose", PACKAGE, true)?;
    Ok((Program::at(tree.join("podman_compose.py")), tree))
}
