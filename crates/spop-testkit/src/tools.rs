//! Finds HAProxy and Valkey on this machine, or unpacks them below `target/tools`.
//!
//! A program that is missing is *unpacked*, never installed: that needs no root, starts no
//! system service, changes nothing outside `target`, and `cargo clean` takes it away again.
//! Unpacked once, it stays; test binaries that run at the same time wait for each other.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};

use crate::debian::{self, Suite};

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

/// A HAProxy and what it says of itself.
#[derive(Debug, Clone)]
pub struct Haproxy {
    program: Program,
    version: (u32, u32),
    version_text: String,
}

impl Haproxy {
    /// The distribution's: the one installed, else its package unpacked. On Debian 12 that
    /// is 2.6, with the SPOE engine that HAProxy had until 3.0.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn distribution() -> Result<Self> {
        if let Some(program) = Program::on_path("haproxy") {
            return Self::inspect(program);
        }
        let program = unpacked("haproxy", &["haproxy"], "usr/sbin/haproxy", &[Suite::Own])
            .map_err(|error| {
                anyhow!("HAProxy is not here and cannot be fetched ({error:#}); type: apt-get install haproxy")
            })?;
        Self::inspect(program)
    }

    /// One with the SPOE engine that came with 3.1: 3.2, or whatever later version Debian's
    /// development suite has by now ([`Haproxy::version`] says which). The
    /// distribution's own where that is new enough.
    ///
    /// # Errors
    /// One line: why it cannot be had.
    pub fn v3_2() -> Result<Self> {
        if let Some(own) = Program::on_path("haproxy") {
            let own = Self::inspect(own)?;
            if own.has_mux_engine() {
                return Ok(own);
            }
        }
        let mut why = anyhow!("no suite has it");
        for (name, suite) in [("haproxy-sid", "sid"), ("haproxy-testing", "testing")] {
            let program = unpacked(
                name,
                &["haproxy"],
                "usr/sbin/haproxy",
                &[Suite::Debian(suite)],
            );
            match program.and_then(Self::inspect) {
                Ok(haproxy) if haproxy.has_mux_engine() => return Ok(haproxy),
                Ok(haproxy) => why = anyhow!("Debian {suite} has {}", haproxy.version()),
                Err(error) => why = error,
            }
        }
        bail!("no HAProxy from 3.1 on can be had: {why:#}")
    }

    /// One for each of the two SPOE engines: the distribution's and, unless that is 3.1 or
    /// later itself, [`Haproxy::v3_2`].
    ///
    /// # Errors
    /// When either is missing.
    pub fn engines() -> Result<Vec<Self>> {
        let own = Self::distribution()?;
        if own.has_mux_engine() {
            return Ok(vec![own]);
        }
        Ok(vec![own, Self::v3_2()?])
    }

    /// Every version that can be had, oldest first, one for each minor version: those of
    /// [`Haproxy::engines`], and of Debian 13 (3.0) and of its experimental suite (3.4 or
    /// later). One of the latter that is missing is named on standard error, once.
    ///
    /// # Errors
    /// When one of [`Haproxy::engines`] is missing.
    pub fn all() -> Result<Vec<Self>> {
        static ALL: Mutex<Vec<Haproxy>> = Mutex::new(Vec::new());

        // Held all the time: others that ask meanwhile wait for the same answer.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            let mut found = Self::engines()?;
            for (name, suite) in [
                ("haproxy-trixie", Suite::Debian("trixie")),
                ("haproxy-experimental", Suite::Over("experimental", "sid")),
            ] {
                match unpacked(name, &["haproxy"], "usr/sbin/haproxy", &[suite])
                    .and_then(Self::inspect)
                {
                    Ok(haproxy) => found.push(haproxy),
                    Err(error) => eprintln!("{name}: not tested, it cannot be had ({error:#})"),
                }
            }
            found.sort_by_key(|haproxy| haproxy.version);
            found.dedup_by_key(|haproxy| haproxy.version);
            *all = found;
        }
        Ok(all.clone())
    }

    /// What `haproxy -v` calls itself, such as `2.6.12-1+deb12u4`.
    pub fn version(&self) -> &str {
        &self.version_text
    }

    /// Whether its SPOE engine is the one that came with 3.1.
    pub fn has_mux_engine(&self) -> bool {
        self.version >= (3, 1)
    }

    /// The program itself.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn inspect(program: Program) -> Result<Self> {
        let output = program.command().arg("-v").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (version, version_text) = parse_version(&text)
            .with_context(|| format!("{} -v does not tell its version", program.path.display()))?;
        Ok(Self {
            program,
            version,
            version_text,
        })
    }
}

/// `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - …` (before 2.4: `HA-Proxy version`)
fn parse_version(text: &str) -> Option<((u32, u32), String)> {
    let full = text.split_once("version ")?.1.split_whitespace().next()?;
    let mut numbers = full.split(['.', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some(((major, minor), full.to_owned()))
}

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
    let tools = tools_dir();
    let tree = tools.join(name);
    if !tree.exists() {
        fs::create_dir_all(&tools)?;
        let lock = File::create(tools.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        // Another process may have been faster; the lock ends with this block.
        if !tree.exists() {
            eprintln!("{name}: not here yet, unpacking it below target/tools (about 10 s)");
            unpack_first(packages, suites, &tools, &tree)?;
        }
    }
    Program::in_tree(&tree, program)
}

/// Unpacks beside the tree and moves it there whole, so that no half of one is ever seen.
fn unpack_first(packages: &[&str], suites: &[Suite], tools: &Path, tree: &Path) -> Result<()> {
    // One name, as the lock is held: what an interrupted run left there is removed.
    let scratch = tools.join(".unpacking");
    let root = scratch.join("root");
    let mut result = Err(anyhow!("nowhere to look"));
    for &suite in suites {
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch)?;
        result = debian::unpack(suite, packages, &scratch, &root);
        if result.is_ok() {
            fs::rename(&root, tree)?;
            break;
        }
    }
    let _ = fs::remove_dir_all(&scratch);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_haproxy_says() {
        let debian = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus:";
        assert_eq!(
            parse_version(debian),
            Some(((2, 6), "2.6.12-1+deb12u4".to_owned()))
        );
        let development = "HAProxy version 3.5-dev5 2026/08/21";
        assert_eq!(parse_version(development).unwrap().0, (3, 5));
        assert_eq!(parse_version("no such thing"), None);
    }
}
