//! A registry of container images, to push to.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The program `docker-registry`: the one installed, else one unpacked.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn registry() -> Result<Program> {
    if let Some(program) = Program::on_path("docker-registry") {
        return Ok(program);
    }
    let packages = ["docker-registry"];
    let program = "usr/bin/docker-registry";
    unpacked("registry", &packages, program, &[Suite::Own]).map_err(|error| {
        anyhow!(
            "docker-registry is not here and cannot be fetched ({error:#}); \
             type: apt-get install docker-registry"
        )
    })
}
