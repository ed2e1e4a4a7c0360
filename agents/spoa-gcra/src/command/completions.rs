//! `spoa-gcra completions`: what a shell completes.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, Failure};

/// Print what SHELL needs to complete commands and options.
///
/// For bash, in this shell: `source <(spoa-gcra completions bash)`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The shell.
    shell: Shell,
}

pub(super) fn execute(options: &Options) -> Result<(), Failure> {
    let mut command = Arguments::command();
    // Not to standard output at once: clap_complete panics if nobody reads it.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "spoa-gcra", &mut script);
    super::print(&script)
}
