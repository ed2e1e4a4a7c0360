//! The `spoa-gcra` command: what was typed, and an exit code that says how it ended.

#![forbid(unsafe_code)]

mod command;

use std::io::{self, Write as _};
use std::process::ExitCode;

use spoa_process::log;

fn main() -> ExitCode {
    let ended = command::execute(spoa_process::parse("spoa-gcra"));
    log::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                // The exit code says it to who does not read.
                let _ = writeln!(io::stderr(), "spoa-gcra: {line}");
            }
            failure.exit_code()
        }
    }
}
