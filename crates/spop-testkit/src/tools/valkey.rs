//! Which Valkeys there are to test with.

use anyhow::{Context as _, Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// `valkey-server` and its tools, of one version.
#[derive(Debug, Clone)]
pub struct Valkey {
    /// The server.
    pub server: Program,
    /// The command-line client.
    pub cli: Program,
    /// `valkey-benchmark`, the load generator.
    pub benchmark: Program,
}

impl Valkey {
    /// The one installed, else one unpacked.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn find() -> Result<Self> {
        if let (Some(server), Some(cli), Some(benchmark)) = (
            Program::on_path("valkey-server"),
            Program::on_path("valkey-cli"),
            Program::on_path("valkey-benchmark"),
        ) {
            return Ok(Self {
                server,
                cli,
                benchmark,
            });
        }
        let suites = [Suite::Debian("trixie"), Suite::Own, Suite::Debian("sid")];
        let packages = ["valkey-server", "valkey-tools"];
        let unpack = |program| unpacked("valkey", &packages, program, &suites);
        unpack("usr/bin/valkey-server")
            .and_then(|server| {
                Ok(Self {
                    server,
                    cli: unpack("usr/bin/valkey-cli")?,
                    benchmark: unpack("usr/bin/valkey-benchmark")?,
                })
            })
            .map_err(|error| {
                anyhow!("Valkey is not here and cannot be fetched ({error:#}); type: apt-get install valkey-server valkey-tools")
            })
    }

    /// One that moves slots atomically (`CLUSTER MIGRATESLOTS`): 9.0 or later. The one of
    /// [`Valkey::find`] where that is new enough, else one of Debian's development suite.
    ///
    /// # Errors
    /// One line: why it cannot be had.
    pub fn from_9_0() -> Result<Self> {
        let found = Self::find()?;
        if found.major_version()? >= 9 {
            return Ok(found);
        }
        let packages = ["valkey-server", "valkey-tools"];
        let unpack = |program| {
            unpacked("valkey-sid", &packages, program, &[Suite::Debian("sid")])
                .context("Valkey 9 is not here and cannot be fetched")
        };
        Ok(Self {
            server: unpack("usr/bin/valkey-server")?,
            cli: unpack("usr/bin/valkey-cli")?,
            benchmark: unpack("usr/bin/valkey-benchmark")?,
        })
    }

    /// `Valkey server v=8.1.1 sha=…`
    fn major_version(&self) -> Result<u32> {
        let output = self.server.command().arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_once("v=")
            .and_then(|(_, rest)| rest.split('.').next());
        let version = version.with_context(|| format!("no version in {text:?}"))?;
        Ok(version.parse()?)
    }
}
