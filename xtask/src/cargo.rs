//! Runs Cargo in this workspace.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use spop_testkit::tools::workspace_root;
use tokio::process::Command;

/// A Cargo command, such as `cargo(["build", "-p", "spoa-gcra"])`.
/// It runs in the root of this workspace.
pub fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    // Set for this process by the Cargo that runs it.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace_root());
    // What that Cargo says of this package is not for the others. Build scripts that look at it,
    // ring's for one, would run again each time, and all that depends on them be compiled again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs it with its output shown. When this is dropped halfway, the command ends together
/// with what it started: compilers, test programs, and the servers of those.
pub(crate) async fn run(command: &mut Command) -> Result<()> {
    let what = line_of(command);
    command.stdin(Stdio::null()).process_group(0);
    let mut child = command.spawn().with_context(|| what.clone())?;
    let mut group = Group(child.id());
    let status = child.wait().await?;
    group.0 = None;
    if !status.success() {
        bail!("{what}: {status}");
    }
    Ok(())
}

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As this one was.
    Own,
    /// For figures.
    Release,
}

/// Builds the agent `name`, such as spoa-gcra, and says where it is.
pub(crate) async fn build_agent(name: &str, profile: Profile) -> Result<PathBuf> {
    build_agent_with(name, profile, "").await
}

/// [`build_agent`] with these of its Cargo features. It takes the place of one with others.
pub(crate) async fn build_agent_with(
    name: &str,
    profile: Profile,
    features: &str,
) -> Result<PathBuf> {
    let mut command = cargo(["build", "-p", name, "--bin", name, "--features", features]);
    let dir = in_profile(&mut command, profile)?;
    let built = if dir.ends_with("release") {
        "release"
    } else {
        "dev"
    };
    eprintln!("Building the agent, {name} (profile {built})");
    run(&mut command).await?;
    Ok(dir.join(name))
}

/// Builds all programs of the workspace as this one was built, with these arguments more, and
/// says in which directory they are.
pub(crate) async fn build_all(arguments: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(["build", "--workspace", "--bins"]);
    command.args(arguments);
    let dir = in_profile(&mut command, Profile::Own)?;
    run(&mut command).await?;
    Ok(dir)
}

/// Has a `cargo build` build in this profile, and says in which directory the programs will be.
fn in_profile(build: &mut Command, profile: Profile) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("this program has no directory")?;
    if profile == Profile::Release || dir.ends_with("release") {
        build.arg("--release");
        return Ok(dir.with_file_name("release"));
    }
    Ok(dir.to_path_buf())
}

/// Builds a benchmark of `package` and says where it is.
pub(crate) async fn build_bench(package: &str, name: &str) -> Result<PathBuf> {
    let bench = ["bench", "-p", package, "--bench", name, "--no-run"];
    executable(&mut cargo(bench), name).await
}

/// Builds the command `name` of `package`, for figures, and says where it is.
pub(crate) async fn build_command(package: &str, name: &str) -> Result<PathBuf> {
    let build = ["build", "--release", "-p", package, "--bin", name];
    executable(&mut cargo(build), name).await
}

/// Runs a Cargo command that builds the target `name`, and says where that is. What the
/// compilers say is shown.
async fn executable(command: &mut Command, name: &str) -> Result<PathBuf> {
    command.args(["--message-format", "json-render-diagnostics"]);
    let what = line_of(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    let child = command.spawn().with_context(|| what.clone())?;
    let mut group = Group(child.id());
    let output = child.wait_with_output().await?;
    group.0 = None;
    if !output.status.success() {
        bail!("{what}: {}", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|n| n == name))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("Cargo does not say where it put {name}"))
}

/// Runs it and returns what it prints.
pub(crate) async fn output(command: &mut Command) -> Result<String> {
    let what = line_of(command);
    let output = command.stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn line_of(command: &Command) -> String {
    let mut line = String::from("cargo");
    for argument in command.as_std().get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// The process group of a command that still runs; killed on drop.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
