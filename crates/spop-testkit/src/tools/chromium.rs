//! Chromium, to look at pages with as their readers do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::podman::library_dirs;
use super::{Program, kept, unpack_first};
use crate::debian::Suite;

/// Chromium without windows, which needs no display, and letters for it to draw.
const PACKAGES: [&str; 2] = ["chromium-headless-shell", "fonts-inter"];
const PROGRAM: &str = "usr/lib/chromium/chromium-headless-shell";

/// Chromium: the one installed, or one unpacked.
#[derive(Debug, Clone)]
pub struct Chromium {
    program: Program,
    tree: Option<PathBuf>,
}

impl Chromium {
    /// The one installed, else one unpacked.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn find() -> Result<Self> {
        let installed = ["chromium-headless-shell", "chromium"];
        if let Some(program) = installed.into_iter().find_map(Program::on_path) {
            let tree = None;
            return Ok(Self { program, tree });
        }
        let tree = kept("chromium", |scratch, root| {
            unpack_first(&PACKAGES, &[Suite::Own], scratch, root)
        })
        .map_err(|error| {
            anyhow!(
                "Chromium is not here and cannot be fetched ({error:#}); type: apt-get install chromium"
            )
        })?;
        Ok(Self {
            program: Program::at(tree.join(PROGRAM)),
            tree: Some(tree),
        })
    }

    /// The program itself.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What an unpacked one has to have in its environment. It starts itself again, so the
    /// loader of the tree is no way to run it: the libraries are, which are of this machine's
    /// own distribution.
    ///
    /// # Errors
    /// When a path holds what separates paths.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let Some(tree) = &self.tree else {
            return Ok(Vec::new());
        };
        let mut libraries = library_dirs(tree)?;
        let sound = libraries.iter().map(|dir| dir.join("pulseaudio"));
        let sound: Vec<_> = sound.filter(|dir| dir.is_dir()).collect();
        libraries.extend(sound);
        Ok(vec![("LD_LIBRARY_PATH", std::env::join_paths(&libraries)?)])
    }

    /// Where an unpacked one has its letters.
    pub(crate) fn fonts(&self) -> Option<PathBuf> {
        let share = Path::new("usr/share/fonts");
        self.tree.as_ref().map(|tree| tree.join(share))
    }
}
