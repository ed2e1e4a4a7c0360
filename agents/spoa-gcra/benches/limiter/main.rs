//! What `cargo xtask bench limiter` measures of the stores by themselves, without an agent and
//! HAProxy's protocol around them. Each command prints one JSON object.
//!
//! One of them by hand: `cargo bench -p spoa-gcra --bench limiter -- memory`.

mod checks;
mod fill;
mod memory;
mod store;
mod top;

use std::error::Error;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// What `cargo bench` adds; it changes nothing
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Decisions a second of the store in Valkey, and what each costs this process
    Store(store::Options),
    /// Puts so many clients into Valkey, to be remembered for an hour
    Fill(fill::Options),
    /// Bytes of a client in the store in memory
    Memory(memory::Options),
    /// What it costs to count a denial for /top, and to read the list
    Top(top::Options),
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(command) = Arguments::parse().command else {
        println!("for `cargo xtask bench limiter`; --help says what there is");
        return Ok(());
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Store(options) => store::run(options).await,
            Command::Fill(options) => fill::run(options).await,
            Command::Memory(options) => memory::run(options),
            Command::Top(options) => top::run(&options),
        }
    })
}
