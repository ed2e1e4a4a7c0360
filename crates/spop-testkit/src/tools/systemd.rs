//! systemd-analyze, which checks units without a running systemd.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// The program and the units that come with systemd.
#[derive(Debug, Clone)]
pub struct Systemd {
    /// `systemd-analyze`.
    pub analyze: Program,
    /// Where `sysinit.target` and the others are that every unit refers to.
    pub units: PathBuf,
}

impl Systemd {
    /// The one installed, else one unpacked.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn find() -> Result<Self> {
        if let Some(analyze) = Program::on_path("systemd-analyze")
            && let Ok(units) = units_in(Path::new("/"))
        {
            return Ok(Self { analyze, units });
        }
        Self::unpacked().map_err(|error| {
            anyhow!(
                "systemd-analyze is not here and cannot be fetched ({error:#}); \
                 type: apt-get install systemd"
            )
        })
    }

    fn unpacked() -> Result<Self> {
        let unpack = |program| unpacked("systemd", &["systemd"], program, &[Suite::Own]);
        // In /bin up to Debian 12.
        let analyze =
            unpack("usr/bin/systemd-analyze").or_else(|_| unpack("bin/systemd-analyze"))?;
        let tree = analyze
            .path
            .ancestors()
            .find(|dir| dir.ends_with("systemd"))
            .context("the unpacked packages have no directory")?;
        let units = units_in(tree)?;
        Ok(Self { analyze, units })
    }
}

fn units_in(root: &Path) -> Result<PathBuf> {
    ["usr/lib/systemd/system", "lib/systemd/system"]
        .map(|dir| root.join(dir))
        .into_iter()
        .find(|dir| dir.join("sysinit.target").exists())
        .context("there are no units of systemd")
}
