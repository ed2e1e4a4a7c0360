//! podman and the programs that it calls.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::{Program, kept, unpack_first};
use crate::debian::Suite;

/// What an unpacked podman needs beside its own package.
const PACKAGES: [&str; 8] = [
    "podman",
    "runc",
    "conmon",
    "netavark",
    "aardvark-dns",
    "catatonit",
    "iptables",
    "iproute2",
];

/// Programs of the unpacked tree, and the names that they are called by.
const PROGRAMS: [(&str, &str); 10] = [
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("runc", "runc"),
    ("catatonit", "catatonit"),
    ("netavark", "netavark"),
    ("aardvark-dns", "aardvark-dns"),
    ("rootlessport", "rootlessport"),
    // Installed, these two are links, which may lead to either of two programs.
    ("xtables-nft-multi", "iptables"),
    ("xtables-nft-multi", "ip6tables"),
    ("ip", "ip"),
];

/// Where they are in the tree, which depends on the distribution's age.
const DIRECTORIES: [&str; 6] = [
    "usr/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "usr/lib/podman",
    "usr/libexec/podman",
];

/// Where in the tree they are found by those names.
const LINKS: &str = "programs";

/// podman: the one installed, or one unpacked.
#[derive(Debug, Clone)]
pub struct Podman {
    program: Program,
    tree: Option<PathBuf>,
}

impl Podman {
    /// The one installed, else one unpacked.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn find() -> Result<Self> {
        if let Some(program) = Program::on_path("podman") {
            return Ok(Self {
                program,
                tree: None,
            });
        }
        let tree = kept("podman", |scratch, root| {
            unpack_first(&PACKAGES, &[Suite::Own], scratch, root)?;
            link_programs(root)
        })
        .map_err(|error| {
            anyhow!(
                "podman is not here and cannot be fetched ({error:#}); type: apt-get install podman"
            )
        })?;
        Ok(Self {
            program: Program::at(tree.join(LINKS).join("podman")),
            tree: Some(tree),
        })
    }

    /// The command line.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The directory of the programs that an unpacked podman calls.
    pub fn helpers(&self) -> Option<PathBuf> {
        self.tree.as_ref().map(|tree| tree.join(LINKS))
    }

    /// What podman, and all that it starts, has to have in its environment. It starts itself
    /// again, so the loader of the tree is no way to run it: the libraries are, which are of
    /// this machine's own distribution.
    ///
    /// # Errors
    /// When a path holds what separates paths.
    pub fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut path: Vec<PathBuf> = env::split_paths(&path).collect();
        path.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let Some(tree) = &self.tree else {
            return Ok(vec![("PATH", env::join_paths(path)?)]);
        };
        path.insert(0, tree.join(LINKS));
        let libraries = library_dirs(tree)?;
        let extensions = libraries
            .iter()
            .map(|dir| dir.join("xtables"))
            .find(|dir| dir.is_dir());
        let mut environment = vec![
            ("PATH", env::join_paths(path)?),
            ("LD_LIBRARY_PATH", env::join_paths(&libraries)?),
        ];
        environment.extend(extensions.map(|dir| ("XTABLES_LIBDIR", dir.into_os_string())));
        Ok(environment)
    }
}

fn link_programs(root: &Path) -> Result<()> {
    let links = root.join(LINKS);
    fs::create_dir_all(&links)?;
    for (program, name) in PROGRAMS {
        let path = DIRECTORIES
            .map(|dir| Path::new(dir).join(program))
            .into_iter()
            .find(|path| root.join(path).exists())
            .with_context(|| format!("the unpacked packages hold no {program}"))?;
        // Relative: the tree is moved afterwards.
        symlink(Path::new("..").join(path), links.join(name))?;
    }
    Ok(())
}

/// `lib/x86_64-linux-gnu` and the same below `usr`.
pub(super) fn library_dirs(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for base in ["usr/lib", "lib"] {
        let Ok(entries) = fs::read_dir(tree.join(base)) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains("-linux-gnu") {
                dirs.push(entry.path());
            }
        }
    }
    Ok(dirs)
}
