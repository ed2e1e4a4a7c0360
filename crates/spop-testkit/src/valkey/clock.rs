//! A wall clock of a server's own, which can be stepped while it runs. The machine's clock
//! is left alone.
//!
//! A small library (`clock.c`), preloaded into the server, adds an offset to the time. It
//! is compiled by `cc`, which Rust needs for linking anyway. (libfaketime cannot do this:
//! it allocates while it starts, and Debian's Valkey allocates by jemalloc, which reads the
//! clock while that starts.)

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const SOURCE: &str = include_str!("clock.c");

/// One server's wall clock, right until it is set otherwise.
#[derive(Debug)]
pub struct Clock {
    offset: File,
    environment: [(&'static str, String); 2],
}

impl Clock {
    /// Builds the library in `dir`, which must last as long as the server.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]);
        let output = cc.arg(&library).arg(&source).output().context("no cc")?;
        if !output.status.success() {
            bail!("cc: {}", String::from_utf8_lossy(&output.stderr));
        }
        let offset = dir.join("clock-offset");
        let environment = [
            ("LD_PRELOAD", library.display().to_string()),
            ("CLOCK_OFFSET", offset.display().to_string()),
        ];
        let clock = Self {
            offset: File::create_new(&offset)?,
            environment,
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets the clock `micros` ahead of the machine's, or behind it if negative. The server
    /// sees the step at once.
    ///
    /// # Errors
    /// When the offset cannot be written.
    pub fn set(&self, micros: i64) -> Result<()> {
        // In place: the server has the file in its memory.
        Ok(self.offset.write_all_at(&micros.to_ne_bytes(), 0)?)
    }

    /// What the server must be started with.
    pub(super) fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }
}
