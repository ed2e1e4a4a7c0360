//! promtool, which checks Prometheus' rules and runs their tests.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The one installed, else one unpacked.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn promtool() -> Result<Program> {
    if let Some(program) = Program::on_path("promtool") {
        return Ok(program);
    }
    let suites = [Suite::Debian("trixie"), Suite::Own];
    unpacked("prometheus", &["prometheus"], "usr/bin/promtool", &suites).map_err(|error| {
        anyhow!(
            "promtool is not here and cannot be fetched ({error:#}); \
             type: apt-get install prometheus"
        )
    })
}
