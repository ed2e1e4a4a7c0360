//! The `spoa-gcra` command: what was typed, and an exit code that says how it ended.

#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use command::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // A bad value is one line, here as in the environment.
        Err(error) if is_bad_value(error.kind()) => {
            let said = error.to_string();
            let lines = said.lines().take_while(|line| !line.is_empty());
            let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            eprintln!("spoa-gcra: {}", line.trim_start_matches("error: "));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    match command::execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("spoa-gcra: {line}");
            }
            failure.exit_code()
        }
    }
}

fn is_bad_value(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue)
}
