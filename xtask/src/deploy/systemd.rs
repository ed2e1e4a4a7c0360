//! systemd takes the units without a warning, and finds them as well shut in as they are meant
//! to be.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use spop_testkit::tools::Systemd;
use tempfile::TempDir;

use super::problem::Problem;
use super::site::Site;
use super::spoe::regex;

/// systemd's own measure, from 0 to 10, times ten; a service that asks for nothing gets 96.
const EXPOSURE: &str = "20";
const UNITS: &str = "etc/systemd/system";

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let files = site.files("deploy/systemd").into_iter().filter(|file| {
        [".service", ".socket", ".timer", ".path"]
            .iter()
            .any(|kind| file.ends_with(kind))
    });
    let files: Vec<String> = files.collect();
    let systemd = Systemd::find()?;
    let root = root(site, &systemd, &files)?;
    let mut problems = Vec::new();
    for file in &files {
        let name = file.rsplit('/').next().unwrap_or_default();
        verify(&systemd, root.path(), file, name, &mut problems)?;
        if name.ends_with(".service") {
            exposure(&systemd, root.path(), file, name, &mut problems)?;
        }
    }
    let version = systemd.analyze.command().arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout);
    site.used(version.lines().next().unwrap_or("systemd"));
    Ok(problems)
}

/// A file system in which the units are installed, with systemd's own and the programs that they
/// start.
fn root(site: &Site, systemd: &Systemd, files: &[String]) -> Result<TempDir> {
    let root = TempDir::with_prefix("deploy-systemd-")?;
    let units = root.path().join(UNITS);
    fs::create_dir_all(&units)?;
    let of_systemd = root.path().join("usr/lib/systemd");
    fs::create_dir_all(&of_systemd)?;
    symlink(&systemd.units, of_systemd.join("system"))?;
    let starts = regex(r"(?m)^Exec\w+=[-@:+!]*(/\S+)");
    for file in files {
        let text = site.read(file)?;
        fs::write(
            units.join(Path::new(file).file_name().context("no name")?),
            &text,
        )?;
        for found in starts.captures_iter(&text) {
            let (_, [program]) = found.extract();
            let program = root.path().join(program.trim_start_matches('/'));
            fs::create_dir_all(program.parent().context("no directory")?)?;
            fs::write(&program, "")?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(root)
}

fn verify(
    systemd: &Systemd,
    root: &Path,
    file: &str,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut command = systemd.analyze.command();
    command.args([
        "verify",
        "--man=no",
        "--generators=no",
        "--recursive-errors=no",
    ]);
    command.arg("--root").arg(root).arg(name);
    command.env("SYSTEMD_LOG_LEVEL", "notice");
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let dir = format!("{}/", root.join(UNITS).display());
    for line in said.lines().filter(|line| line.contains(name)) {
        problems.push(Problem::new(file, line.replace(&dir, "")));
    }
    if !output.status.success() && problems.is_empty() {
        problems.push(Problem::new(
            file,
            format!("systemd-analyze verify: {}", said.trim()),
        ));
    }
    Ok(())
}

fn exposure(
    systemd: &Systemd,
    root: &Path,
    file: &str,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut command = systemd.analyze.command();
    command.args([
        "security",
        "--offline=yes",
        "--no-pager",
        "--threshold",
        EXPOSURE,
    ]);
    command.arg("--root").arg(root).arg(name);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().last().unwrap_or_default().to_owned();
        let said = if said.is_empty() {
            String::from_utf8_lossy(&output.stderr).trim().to_owned()
        } else {
            said
        };
        let what = format!("is too exposed, at most {EXPOSURE} tenths are expected: {said}");
        problems.push(Problem::new(file, what));
    }
    Ok(())
}
