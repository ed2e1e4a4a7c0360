//! Finds HAProxy and Valkey on this machine, or unpacks them below `target/tools`.
//!
//! A program that is missing is *unpacked*, never installed: that needs no root, starts no
//! system service, changes nothing outside `target`, and `cargo clean` takes it away again.
//! Unpacked once, it stays; test binaries that run at the same time wait for each other.

mod actions;
mod argo_cd;
mod busybox;
mod chromium;
mod compose;
mod haproxy;
mod kubernetes;
mod kustomize;
mod node;
mod podman;
mod podman_compose;
mod promtool;
mod python;
mod registry;
mod skopeo;
mod systemd;
mod valkey;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};

use crate::debian::{self, Suite};

pub use actions::actionlint;
pub use argo_cd::argo_cd;
pub use busybox::Busybox;
pub use chromium::Chromium;
pub use compose::compose;
pub use haproxy::Haproxy;
pub use kubernetes::kubernetes_schemas;
pub use kustomize::kustomize;
pub use podman::Podman;
pub use podman_compose::podman_compose;
pub use promtool::promtool;
pub use registry::registry;
pub use skopeo::skopeo;
pub use systemd::Systemd;
pub use valkey::Valkey;

/// A program that can be started: one of the system's, or one from an unpacked tree, which
/// is run by that tree's own loader and libraries.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    loader: Option<Loader>,
}

#[derive(Debug, Clone)]
struct Loader {
    path: PathBuf,
    libraries: OsString,
}

impl Program {
    /// A program that the system itself can run.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            loader: None,
        }
    }

    /// `path` inside an unpacked tree, such as `usr/sbin/haproxy`.
    fn in_tree(tree: &Path, path: &str) -> Result<Self> {
        let mut loader = None;
        let mut dirs = Vec::new();
        for base in ["usr/lib", "lib"] {
            let Ok(entries) = fs::read_dir(tree.join(base)) else {
                continue;
            };
            // One directory to an architecture, such as x86_64-linux-gnu.
            for dir in entries.flatten().map(|entry| entry.path()) {
                if !dir.to_string_lossy().contains("-linux-gnu") {
                    continue;
                }
                loader = loader.or_else(|| loader_in(&dir));
                // Where systemd keeps what only its own programs use.
                dirs.extend(Some(dir.join("systemd")).filter(|own| own.is_dir()));
                dirs.push(dir);
            }
        }
        let path = tree.join(path);
        if !path.exists() {
            bail!("the unpacked packages hold no {}", path.display());
        }
        Ok(Self {
            path,
            loader: Some(Loader {
                path: loader.context("the unpacked packages hold no loader")?,
                libraries: env::join_paths(dirs)?,
            }),
        })
    }

    /// A command that runs it, without arguments yet.
    pub fn command(&self) -> Command {
        let mut words = self.words();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// Program and leading arguments.
    pub(crate) fn words(&self) -> impl Iterator<Item = OsString> {
        let mut words = Vec::new();
        if let Some(loader) = &self.loader {
            words.push(loader.path.clone().into());
            words.push("--library-path".into());
            words.push(loader.libraries.clone());
        }
        words.push(self.path.clone().into());
        words.into_iter()
    }

    /// Found on `PATH`, or where programs for root are kept, which a user's `PATH` lacks.
    fn on_path(name: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
            .map(Self::at)
    }
}

fn loader_in(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("ld-linux"))
        .map(|entry| entry.path())
}

/// `wrk`, the HTTP load generator: the one installed, else one unpacked.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn wrk() -> Result<Program> {
    if let Some(program) = Program::on_path("wrk") {
        return Ok(program);
    }
    unpacked("wrk", &["wrk"], "usr/bin/wrk", &[Suite::Own]).map_err(|error| {
        anyhow!("wrk is not here and cannot be fetched ({error:#}); type: apt-get install wrk")
    })
}

/// `program` from the tree `name`, which is unpacked from the first of `suites` that has
/// `packages`, unless an earlier run did so.
fn unpacked(name: &str, packages: &[&str], program: &str, suites: &[Suite]) -> Result<Program> {
    let tree = kept(name, |scratch, root| {
        unpack_first(packages, suites, scratch, root)
    })?;
    Program::in_tree(&tree, program)
}

/// The directory `name` below `target/tools`. Unless an earlier run did so, `fill` makes what
/// belongs there: at its second argument, with its first to work in. It is then moved there
/// whole, so that no half of one is ever seen.
fn kept(name: &str, fill: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let tools = tools_dir();
    let tree = tools.join(name);
    if tree.exists() {
        return Ok(tree);
    }
    fs::create_dir_all(&tools)?;
    let lock = File::create(tools.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    // Another process may have been faster; the lock ends with this function.
    if !tree.exists() {
        eprintln!("{name}: not here yet, unpacking it below target/tools (about 10 s)");
        // One name, as the lock is held: what an interrupted run left there is removed.
        let scratch = tools.join(".unpacking");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch)?;
        let root = scratch.join("root");
        let filled = fill(&scratch, &root);
        if filled.is_ok() {
            fs::rename(&root, &tree)?;
        }
        let _ = fs::remove_dir_all(&scratch);
        filled?;
    }
    Ok(tree)
}

/// Runs to the end; the first line of what it complained about is the error.
fn run_quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        bail!("{name} failed: {}", first.unwrap_or("it did not say why"));
    }
    Ok(())
}

/// Unpacks the packages from the first suite that has them.
fn unpack_first(packages: &[&str], suites: &[Suite], scratch: &Path, root: &Path) -> Result<()> {
    let mut result = Err(anyhow!("nowhere to look"));
    for &suite in suites {
        let state = scratch.join("apt");
        let _ = fs::remove_dir_all(&state);
        let _ = fs::remove_dir_all(root);
        result = debian::unpack(suite, packages, &state, root);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// `tools` in Cargo's target directory.
fn tools_dir() -> PathBuf {
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace_root().join("target"),
    };
    // The loader's library path must hold wherever the program is started.
    std::path::absolute(target.join("tools")).unwrap_or(target)
}

/// The root of this workspace, where this crate was built.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
