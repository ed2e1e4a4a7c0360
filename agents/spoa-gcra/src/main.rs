//! The `spoa-gcra` command: what was typed, and an exit code that says how it ended.

#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::execute(spoa_process::parse("spoa-gcra")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("spoa-gcra: {line}");
            }
            failure.exit_code()
        }
    }
}
