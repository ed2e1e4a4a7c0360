//! The `spoa-gcra` command: what was typed, and an exit code that says how it ended.

#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use spoa_process::log;

fn main() -> ExitCode {
    match command::execute(spoa_process::parse("spoa-gcra")) {
        Ok(()) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let failed = failure.to_string();
            let lines: Vec<_> = failed
                .lines()
                .map(|line| format!("spoa-gcra: {line}"))
                .collect();
            // The exit code says it to who does not read.
            log::end_with(&lines.join("\n"));
            failure.exit_code()
        }
    }
}
