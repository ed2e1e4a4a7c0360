//! kustomize, which renders Kubernetes manifests as `kubectl apply -k` does.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The one installed, else one unpacked.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn kustomize() -> Result<Program> {
    if let Some(program) = Program::on_path("kustomize") {
        return Ok(program);
    }
    let suites = [Suite::Own, Suite::Debian("trixie"), Suite::Debian("sid")];
    unpacked("kustomize", &["kustomize"], "usr/bin/kustomize", &suites).map_err(|error| {
        anyhow!(
            "kustomize is not here and cannot be fetched ({error:#}); type: apt-get install kustomize"
        )
    })
}
