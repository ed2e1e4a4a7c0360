//! docker-compose 2, whose parser is the reference for compose files.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The one installed, else one unpacked. Version 1 is another program with the same name; it
/// is passed over.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn compose() -> Result<Program> {
    if let Some(program) = Program::on_path("docker-compose")
        && !is_version_1(&program)
    {
        return Ok(program);
    }
    unpacked(
        "docker-compose",
        &["docker-compose"],
        "usr/libexec/docker/cli-plugins/docker-compose",
        &[Suite::Debian("trixie"), Suite::Debian("sid")],
    )
    .map_err(|error| {
        anyhow!(
            "docker-compose 2 is not here and cannot be fetched ({error:#}); \
             install it as its vendor says"
        )
    })
}

/// As far as it can be told; one that does not start is no better.
fn is_version_1(program: &Program) -> bool {
    let output = program.command().args(["version", "--short"]).output();
    match output {
        Ok(output) => output.stdout.starts_with(b"1.") || !output.status.success(),
        Err(_) => true,
    }
}
