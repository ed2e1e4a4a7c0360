//! The JSON schemas of Kubernetes' own objects, for each of its versions.

use std::path::PathBuf;

use anyhow::Result;

use super::python::python_package;

/// A package that is nothing but these schemas, with a command around them.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// A directory with one directory for each version, such as `v1.32.0-local-strict`, in which
/// there is a file for each kind, such as `deployment-apps-v1.json`.
///
/// # Errors
/// One line: why they cannot be had.
pub fn kubernetes_schemas() -> Result<PathBuf> {
    // The command is not run, so what it depends on is not needed.
    let tree = python_package("kubernetes-schemas", PACKAGE, false)?;
    Ok(tree.join("kubernetes_validate/kubernetes-json-schema"))
}
