//! Runs Cargo in this workspace.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use spop_testkit::tools::workspace_root;
use tokio::process::Command;

/// A Cargo command, such as `cargo(["build", "-p", "spoa-gcra"])`.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    // Set for this process by the Cargo that runs it.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace_root());
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

/// Builds the agent, spoa-gcra, and says where it is.
pub(crate) async fn build_agent(profile: Profile) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("this program has no directory")?;
    let mut command = cargo(["build", "-p", "spoa-gcra", "--bin", "spoa-gcra"]);
    let (dir, name) = if profile == Profile::Release || dir.ends_with("release") {
        command.arg("--release");
        (dir.with_file_name("release"), "release")
    } else {
        (dir.to_path_buf(), "dev")
    };
    eprintln!("Building the agent, spoa-gcra (profile {name})");
    run(&mut command).await?;
    Ok(dir.join("spoa-gcra"))
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
