//! Packages for Node.js, each in a tree of its own.

use std::process::Command;

use anyhow::{Result, anyhow};

use super::{Program, kept, run_quietly};

/// A command that runs `script`, which may `require` what `package` is and depends on. No
/// script of the packages themselves is run when they are fetched.
pub(super) fn node(tree: &str, package: &str, script: &str) -> Result<Command> {
    let missing = |what: &str| anyhow!("{what}; type: apt-get install nodejs npm");
    let node = Program::on_path("node").ok_or_else(|| missing("Node.js is not here"))?;
    let modules = kept(tree, |_, root| {
        let npm = Program::on_path("npm").ok_or_else(|| missing("npm is not here"))?;
        let mut install = npm.command();
        install
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(["--ignore-scripts", "--prefix"])
            .arg(root)
            .arg(package);
        run_quietly(&mut install)
    })
    .map_err(|error| anyhow!("{package} is not here and cannot be fetched: {error:#}"))?;
    let mut command = node.command();
    command
        .env("NODE_PATH", modules.join("node_modules"))
        .args(["-e", script, "--"]);
    Ok(command)
}
