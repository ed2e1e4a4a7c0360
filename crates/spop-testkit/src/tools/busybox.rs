//! What a shell script calls, for images that are made of single programs.

use anyhow::{Result, anyhow};

use super::{Program, unpacked};
use crate::debian::Suite;

/// A shell and small tools, in two programs.
#[derive(Debug, Clone)]
pub struct Busybox {
    /// `busybox`, linked statically: `sh`, `sed`, `timeout` and others, by the names of links
    /// to it.
    pub busybox: Program,
    /// `getent`, which it lacks.
    pub getent: Program,
}

impl Busybox {
    /// One unpacked: an installed one may need libraries.
    ///
    /// # Errors
    /// One line: why it cannot be had.
    pub fn find() -> Result<Self> {
        let packages = ["busybox-static", "libc-bin"];
        // Not from a newer suite than Valkey, whose C library it shares in an image.
        let suites = [Suite::Own];
        let unpack = |program| unpacked("busybox", &packages, program, &suites);
        // In /bin up to Debian 12.
        unpack("usr/bin/busybox")
            .or_else(|_| unpack("bin/busybox"))
            .and_then(|busybox| {
                Ok(Self {
                    busybox,
                    getent: unpack("usr/bin/getent")?,
                })
            })
            .map_err(|error| anyhow!("busybox and getent cannot be fetched ({error:#})"))
    }
}
