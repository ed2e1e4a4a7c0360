//! The `spoa-gcra` command: what was typed, and an exit code that says how it ended.

#![forbid(unsafe_code)]

mod command;
mod systemd;

use std::process::ExitCode;

use clap::Parser as _;
use command::Arguments;

fn main() -> ExitCode {
    match command::execute(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("spoa-gcra: {line}");
            }
            failure.exit_code()
        }
    }
}
