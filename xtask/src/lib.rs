//! The project's own commands, run as `cargo xtask COMMAND`. Nothing depends on this.

mod bench;
pub mod cargo;
mod deb;
mod demo;
mod deploy;
mod edges;
mod faults;
mod fuzz;
pub mod image;
mod links;
mod markdown;
mod page;
mod screenshots;
mod signals;
mod test;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Commands for working on this project. Everything they start listens on 127.0.0.1 only
/// and ends with them.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What each does is said where its options are.
#[derive(Subcommand)]
enum Command {
    #[command(subcommand)]
    Bench(bench::Benchmark),
    Deb(deb::Options),
    Demo(demo::Options),
    Deploy(deploy::Options),
    Faults(faults::Options),
    Fuzz(fuzz::Options),
    Image(image::Options),
    Links(links::Options),
    Screenshots(screenshots::Options),
    Test(test::Options),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(signals::interruptible(async {
        match command {
            Command::Bench(benchmark) => bench::run(benchmark).await,
            Command::Deb(options) => deb::run(options).await,
            Command::Demo(options) => demo::run(options).await,
            Command::Deploy(options) => deploy::run(options).await,
            Command::Faults(options) => faults::run(options).await,
            Command::Fuzz(options) => fuzz::run(options).await,
            Command::Image(options) => image::run(options).await,
            Command::Links(options) => links::run(options).await,
            Command::Screenshots(options) => screenshots::run(options).await,
            Command::Test(options) => test::run(options).await,
        }
    }));
    // An interrupted download may still be under way on a thread of its own.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}
