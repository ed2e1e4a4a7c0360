//! The JSON schemas of Kubernetes' own objects, for each of its versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow};

use super::{kept, run_quietly};

/// A package that is nothing but these schemas, with a command around them.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// A directory with one directory for each version, such as `v1.32.0-local-strict`, in which
/// there is a file for each kind, such as `deployment-apps-v1.json`.
///
/// # Errors
/// One line: why they cannot be had.
pub fn kubernetes_schemas() -> Result<PathBuf> {
    let tree = kept("kubernetes-schemas", |_, root| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-compile",
        ])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .arg("--target")
        .arg(root)
        .arg(PACKAGE);
        run_quietly(&mut pip)
    })
    .map_err(|error| {
        anyhow!(
            "the schemas of Kubernetes are not here and cannot be fetched ({error:#}); \
             Python with pip is needed, type: apt-get install python3-pip"
        )
    })?;
    Ok(tree.join("kubernetes_validate/kubernetes-json-schema"))
}
