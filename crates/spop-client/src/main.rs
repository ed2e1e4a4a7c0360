//! The `spop` command. What it does is in `cli`, and HAProxy's side of SPOP in the library.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
