//! Unpacks packages of a Debian suite, with all that they depend on, into a directory of
//! ours: no root, no change to the system's packages, no service started.
//!
//! `apt-get` and `dpkg-deb` do the work, on a private apt state with an empty list of
//! installed packages, so that the closure holds even the C library. What comes out runs
//! through its own loader ([`crate::tools::Program`]) and so on an older system, too.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail};

/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// This machine's own distribution, updates and security included.
    Own,
    /// The named suite of Debian, from the mirror that this machine already uses.
    Debian(&'static str),
    /// The first suite, which is not whole by itself, and the second for what it lacks.
    Over(&'static str, &'static str),
}

/// Unpacks `packages` of `suite` and their dependencies into `root`, which it creates.
/// `scratch` is an empty directory for apt's state; the caller removes it.
pub(crate) fn unpack(suite: Suite, packages: &[&str], scratch: &Path, root: &Path) -> Result<()> {
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(scratch.join(dir))?;
    }
    fs::create_dir_all(root)?;
    fs::write(scratch.join("status"), "")?;
    fs::write(scratch.join("sources.list"), source_lines(suite)?)?;
    let config = scratch.join("apt.conf");
    fs::write(&config, apt_config(scratch)?)?;

    // Of indexes that it cannot get, apt only warns; that is then why a package is unknown.
    let warning = run(apt_get(&config).arg("update"))?;
    let mut install = apt_get(&config);
    install.args(["--yes", "--download-only"]);
    if let Suite::Over(first, _) = suite {
        install.args(["--target-release", first]);
    }
    run(install.arg("install").args(packages))
        .map_err(|error| warning.map_or(error, Error::msg))?;
    for entry in fs::read_dir(scratch.join("cache/archives"))? {
        let package = entry?.path();
        if package.extension() == Some(OsStr::new("deb")) {
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        }
    }
    Ok(())
}

fn apt_get(config: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").arg("-c").arg(config);
    command.env("LC_ALL", "C");
    command
}

/// Runs to the end and returns the first line of what it had to complain about; that line is
/// the error, too.
fn run(command: &mut Command) -> Result<Option<String>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty());
    if !output.status.success() {
        bail!("{name} failed: {}", first.unwrap_or("it did not say why"));
    }
    Ok(first.map(String::from))
}

/// The machine's own apt configuration (its proxy, its certificates) stays in force; this
/// is read after it.
fn apt_config(scratch: &Path) -> Result<String> {
    let dir = scratch
        .to_str()
        .filter(|dir| !dir.contains(['"', '\\', '\n']))
        .with_context(|| format!("{} cannot be written in apt's quotes", scratch.display()))?;
    Ok(format!(
        r#"Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{dir}/state";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Debug::NoLocking "true";
Acquire::Languages "none";
Acquire::Retries "3";
// A mirror may be a snapshot, whose Release file has expired; it is signed all the same.
Acquire::Check-Valid-Until "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"#
    ))
}

/// One entry of the machine's apt sources.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// A keyring's path. A key written out in the entry itself is left out.
    signed_by: Option<String>,
}

fn source_lines(suite: Suite) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    let codename = field("VERSION_CODENAME").context("/etc/os-release names no codename")?;
    let sources = machine_sources();
    let lines = match suite {
        Suite::Own => own_lines(&sources, codename),
        _ if field("ID") != Some("debian") => {
            bail!("this machine is not Debian, so no mirror of Debian is known")
        }
        Suite::Debian(name) => debian_line(&sources, codename, name),
        Suite::Over(first, second) => {
            debian_line(&sources, codename, first) + &debian_line(&sources, codename, second)
        }
    };
    if lines.is_empty() {
        bail!("apt's sources on this machine have no entry for {codename}");
    }
    Ok(lines)
}

/// Every entry for this release: itself, its updates, its security fixes.
fn own_lines(sources: &[Source], codename: &str) -> String {
    let is_own = |suite: &str| {
        suite
            .strip_prefix(codename)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    sources
        .iter()
        .flat_map(|source| source.suites.iter().map(move |suite| (source, suite)))
        .filter(|(_, suite)| is_own(suite))
        .map(|(source, suite)| line(source, suite, &source.components.join(" ")))
        .collect()
}

/// Another suite, from the mirror that has this release.
fn debian_line(sources: &[Source], codename: &str, suite: &str) -> String {
    sources
        .iter()
        .find(|source| source.suites.iter().any(|own| own == codename))
        .map(|source| line(source, suite, "main"))
        .unwrap_or_default()
}

fn line(source: &Source, suite: &str, components: &str) -> String {
    let signed_by = match &source.signed_by {
        Some(keyring) => format!(" signed-by={keyring}"),
        None => String::new(),
    };
    // Only the package index: not the icons and descriptions of desktop programs.
    format!(
        "deb [target=Packages{signed_by}] {} {suite} {components}\n",
        source.uri
    )
}

fn machine_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(OsStr::to_str) {
            Some("list") => sources.extend(text.lines().filter_map(one_line_source)),
            Some("sources") => sources.extend(text.split("\n\n").filter_map(stanza_source)),
            _ => {}
        }
    }
    sources
}

/// `deb [signed-by=FILE] URI SUITE COMPONENT…`
fn one_line_source(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(String::from);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(String::from),
    })
}

/// `Types: deb`, `URIs: …`, `Suites: …`, `Components: …`, `Signed-By: FILE`
fn stanza_source(stanza: &str) -> Option<Source> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let words = |name| -> Option<Vec<String>> {
        Some(field(name)?.split_whitespace().map(String::from).collect())
    };
    let enabled = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if !enabled || !words("Types")?.iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uri: words("URIs")?.into_iter().next()?,
        suites: words("Suites")?,
        components: words("Components")?,
        signed_by: field("Signed-By")
            .filter(|value| value.starts_with('/'))
            .map(String::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZA: &str = "# a comment\nTypes: deb\nURIs: http://mirror.test/debian\n\
        Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys/debian.gpg";

    #[test]
    fn both_forms_of_source_are_read() {
        let stanza = stanza_source(STANZA).unwrap();
        assert_eq!(stanza.suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(stanza.signed_by.as_deref(), Some("/keys/debian.gpg"));

        let line =
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main non-free";
        let line = one_line_source(line).unwrap();
        assert_eq!(line.uri, "http://mirror.test/debian");
        assert_eq!(line.components, ["main", "non-free"]);
        assert_eq!(line.signed_by.as_deref(), Some("/k.gpg"));

        assert_eq!(one_line_source("# deb http://mirror.test x main"), None);
        assert_eq!(one_line_source("deb-src http://mirror.test x main"), None);
        assert_eq!(stanza_source(&format!("{STANZA}\nEnabled: no")), None);
    }

    #[test]
    fn own_suites_exclude_other_vendors() {
        let vendor = one_line_source("deb http://vendor.test/apt sdk-bookworm main").unwrap();
        let sources = [vendor, stanza_source(STANZA).unwrap()];
        let own = own_lines(&sources, "bookworm");
        assert_eq!(own.lines().count(), 2);
        assert!(!own.contains("vendor"));
        assert_eq!(
            debian_line(&sources, "bookworm", "sid"),
            "deb [target=Packages signed-by=/keys/debian.gpg] http://mirror.test/debian sid main\n"
        );
    }
}
