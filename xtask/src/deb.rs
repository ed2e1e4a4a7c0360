//! `cargo xtask deb`: the Debian package of the agent.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cargo::{Profile, build_agent, cargo, output, run as run_cargo};

/// Where cargo-deb is built if it is missing, in Cargo's target directory.
const TOOL: &str = "tools/cargo-deb";

/// What is generated for the package: the file, and the agent's arguments that print it.
const GENERATED: [(&str, &[&str]); 4] = [
    ("spoa-gcra.1.gz", &["man"]),
    ("spoa-gcra.bash", &["completions", "bash"]),
    ("_spoa-gcra", &["completions", "zsh"]),
    ("spoa-gcra.fish", &["completions", "fish"]),
];

/// Make the Debian package of spoa-gcra
///
/// It holds the binary (profile release), systemd's units and the file of settings from
/// deploy/systemd, completions and the manual page, examples, documentation and licences. It is
/// then unpacked, and the agent in it is run. Path and size are printed.
///
/// cargo-deb is built below target/tools where it is missing (about 2 minutes, once).
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) async fn run(_: Options) -> Result<ExitCode> {
    let agent = build_agent("spoa-gcra", Profile::Release).await?;
    let release = agent.parent().context("the agent has no directory")?;
    let target = release.parent().context("there is no target directory")?;
    generate(&agent, &release.join("packaging")).await?;

    let path = cargo_deb(target).await?;
    // Line tables for backtraces stay out of it, as with any package.
    let mut command = cargo([
        "deb",
        "--no-build",
        "--strip",
        "-p",
        "spoa-gcra",
        "--output",
    ]);
    command.arg(target.join("debian")).env("PATH", path);
    let said = output(&mut command).await?;
    let package = said.lines().last().map(PathBuf::from);
    let package = package.context("cargo-deb does not say where the package is")?;

    let version = try_out(&package).await?;
    let size = fs::metadata(&package)?.len();
    println!("{} ({version})", package.display());
    println!("{:.2} MB", size as f64 / 1e6);
    Ok(ExitCode::SUCCESS)
}

/// Has the agent print what is made of its own arguments.
async fn generate(agent: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for (file, arguments) in GENERATED {
        let mut printed = printed(Command::new(agent).args(arguments)).await?;
        if file.ends_with(".gz") {
            printed = gzip(&printed)?;
        }
        fs::write(dir.join(file), printed)?;
    }
    Ok(())
}

/// Without a time in it, so that the same page gives the same file.
fn gzip(page: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(page)?;
    Ok(gzip.finish()?)
}

/// The `PATH` that has cargo-deb: the one installed, else one that is built below
/// `target/tools`.
async fn cargo_deb(target: &Path) -> Result<OsString> {
    let tool = target.join(TOOL);
    let before = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&before).chain([tool.join("bin")]);
    let path = std::env::join_paths(dirs)?;
    let mut version = cargo(["deb", "--version"]);
    if output(version.env("PATH", &path)).await.is_err() {
        eprintln!("cargo-deb: not here yet, building it below target/tools (about 2 minutes)");
        let install = "install cargo-deb --version ^3.8 --locked --debug --quiet --root";
        run_cargo(cargo(install.split(' ')).arg(&tool))
            .await
            .context("cargo-deb is not here and cannot be had")?;
    }
    Ok(path)
}

/// Unpacks the package, without installing it, and asks the agent in it for its version.
async fn try_out(package: &Path) -> Result<String> {
    let root = TempDir::with_prefix("xtask-deb-")?;
    let mut unpack = Command::new("dpkg-deb");
    printed(unpack.arg("-x").arg(package).arg(root.path())).await?;
    let agent = root.path().join("usr/bin/spoa-gcra");
    let version = printed(Command::new(agent).arg("--version")).await?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    Ok(version)
}

async fn printed(command: &mut Command) -> Result<Vec<u8>> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = command
        .output()
        .await
        .with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}: {}", output.status, said.trim());
    }
    Ok(output.stdout)
}
