//! Builds an agent's program so that it needs no library of the image and is the same from
//! every directory.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::program::said;
use super::project::Project;
use crate::cargo::{cargo, run as run_cargo};

/// Separates the flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// The compiler that builds it.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    /// Such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Such as `1.88.0`.
    pub version: String,
    commit: String,
    sysroot: PathBuf,
}

impl Compiler {
    /// The one that Cargo uses.
    pub(super) async fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let about = said(Command::new(&rustc).arg("-vV")).await?;
        let field = |name: &str| {
            let value = about.lines().find_map(|line| line.strip_prefix(name));
            let value = value.with_context(|| format!("rustc -vV tells no {name}"))?;
            anyhow::Ok(value.trim().to_owned())
        };
        let sysroot = said(Command::new(&rustc).args(["--print", "sysroot"])).await?;
        Ok(Self {
            target: field("host:")?,
            version: field("release:")?,
            commit: field("commit-hash:")?,
            sysroot: sysroot.into(),
        })
    }
}

/// Builds `project`'s program and says where it is.
///
/// It is linked statically, and has a target directory of its own: other flags would have
/// Cargo build everything anew each time.
pub(super) async fn build(
    project: &Project,
    compiler: &Compiler,
    profile: &str,
) -> Result<PathBuf> {
    if !compiler.target.ends_with("-linux-gnu") {
        bail!(
            "an image needs a Linux program, and this compiler makes {} ones",
            compiler.target
        );
    }
    let name = &project.agent;
    let target_dir = project.image_dir.join("build");
    let mut command = cargo(["build"]);
    command
        .current_dir(&project.root)
        .args(["--package", name, "--bin", name])
        .args(["--profile", profile])
        // Named, so that the flags are not used for macros and build scripts, which cannot be
        // static.
        .args(["--target", &compiler.target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(project, compiler)?);
    run_cargo(&mut command).await?;
    // Cargo's name for the directory of its profile `dev`.
    let dir = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir.join(&compiler.target).join(dir).join(name))
}

fn flags(project: &Project, compiler: &Compiler) -> Result<OsString> {
    let mut flags = OsString::from(
        [
            "-Ctarget-feature=+crt-static",
            "-Cdebuginfo=0",
            "-Cstrip=symbols",
        ]
        .join(SEPARATOR),
    );
    for (from, to) in mapped_paths(project, compiler)? {
        flags.push(SEPARATOR);
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

/// The directories that paths in the program begin with, and what they begin with instead.
/// Of two that fit, the later counts.
fn mapped_paths(project: &Project, compiler: &Compiler) -> Result<Vec<(PathBuf, String)>> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(dir) => std::path::absolute(dir)?,
        None => {
            let home = std::env::home_dir().context("neither HOME nor CARGO_HOME is set")?;
            home.join(".cargo")
        }
    };
    let mut paths = vec![(cargo_home.clone(), "/cargo".to_owned())];
    // One directory for each registry, called after where it was fetched from.
    for dir in fs::read_dir(cargo_home.join("registry/src"))
        .into_iter()
        .flatten()
    {
        paths.push((dir?.path(), "/crates".to_owned()));
    }
    paths.push((project.root.clone(), "/src".to_owned()));
    paths.push((project.image_dir.clone(), "/target".to_owned()));
    let library = compiler.sysroot.join("lib/rustlib/src/rust");
    paths.push((library, format!("/rustc/{}", compiler.commit)));
    Ok(paths)
}

/// Copies the sources, without what is built from them, to an empty directory.
pub(super) fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name == "target" || name == ".git" {
            continue;
        }
        if kind.is_dir() {
            copy_sources(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name))
                .with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}
