//! skopeo, which copies images between archives and registries.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The one installed, else one unpacked.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn skopeo() -> Result<Program> {
    if let Some(program) = Program::on_path("skopeo") {
        return Ok(program);
    }
    unpacked("skopeo", &["skopeo"], "usr/bin/skopeo", &[Suite::Own]).map_err(|error| {
        anyhow!(
            "skopeo is not here and cannot be fetched ({error:#}); type: apt-get install skopeo"
        )
    })
}
