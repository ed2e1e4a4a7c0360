//! The agents that `cargo xtask bench engine` compares, in one program. Each answers the
//! message `check-rate` with the session variable `ip_score` = 0, and nothing else.
//!
//! One of them by hand: `cargo bench -p spop-server --bench engine -- minimal`.

mod ceiling;
mod crate_spop;
mod listen;
mod minimal;

use std::io;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// An agent on a free port of 127.0.0.1, until SIGTERM. It prints where it listens.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    agent: Option<Agent>,

    /// Threads that serve; with 1 it is tokio's current_thread runtime
    #[arg(long, global = true, default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,

    /// What `cargo bench` adds; it changes nothing
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Agent {
    /// spop-server, the handler a function of the borrowed request
    Minimal,
    /// spop-server, the handler an async function
    MinimalAsync,
    /// On the crate `spop`, the way its own example is written
    Spop {
        /// Set TCP_NODELAY, which the example does not
        #[arg(long)]
        nodelay: bool,
    },
    /// What no agent on tokio can be faster than: looks at no message, only copies the ids
    Ceiling,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let Some(agent) = arguments.agent else {
        println!("agents for `cargo xtask bench engine`; --help says which");
        return Ok(());
    };
    runtime(arguments.workers)?.block_on(async {
        match agent {
            Agent::Minimal => minimal::run(minimal::borrowed()).await,
            Agent::MinimalAsync => minimal::run(minimal::asynchronous()).await,
            Agent::Spop { nodelay } => crate_spop::run(nodelay).await,
            Agent::Ceiling => ceiling::run().await,
        }
    })
}

fn runtime(workers: u16) -> io::Result<Runtime> {
    match workers {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread()
            .worker_threads(workers.into())
            .enable_all()
            .build(),
    }
}
