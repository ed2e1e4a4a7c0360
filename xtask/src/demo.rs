//! `cargo xtask demo`: an agent at work behind a real HAProxy; each agent's is a module of its
//! own.

mod ip_reputation;
mod rate_limit;

use std::process::ExitCode;

use anyhow::Result;
use spop_testkit::tools::Haproxy;

/// Show the rate limiter at work behind a real HAProxy, in about ten seconds
///
/// Starts a web service, the rate limiter (spoa-gcra, its state in memory) and a real HAProxy
/// between them and you, with the files of deploy/haproxy, on free ports of 127.0.0.1.
/// One client then sends a burst, and after it a steady stream at one and a half times the
/// rate that the limit allows; a table shows what becomes of the requests, and so does the
/// agent's live view, whose URL is printed first.
///
/// HAProxy is taken from this machine, or unpacked from the distribution's package below
/// target/tools; nothing is installed. The demo ends by itself, and Ctrl-C ends it at any
/// time. Exit code 0 means that the limit was kept.
///
/// With --agent ip-reputation it shows spoa-ip-reputation instead: what becomes of a client
/// on the list and of one that is not, and then the same after the list has changed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which agent to show
    #[arg(long, value_name = "NAME", value_enum, default_value_t)]
    agent: Which,
    /// Leave everything running afterwards, until Ctrl-C, under light traffic, and print the URLs
    #[arg(long)]
    keep: bool,
    /// How long the steady stream lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The limit, in requests per second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
    /// Ask the agent directly, as HAProxy would, where HAProxy cannot be had
    #[arg(long)]
    without_haproxy: bool,
}

/// The agents that there is a demo of.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The rate limiter
    #[default]
    #[value(alias = "spoa-gcra")]
    Gcra,
    /// A score for each address, from lists; of the options below only --keep counts
    #[value(alias = "spoa-ip-reputation")]
    IpReputation,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    match options.agent {
        Which::Gcra => rate_limit::run(&options).await,
        Which::IpReputation if options.without_haproxy => {
            eprintln!("error: --without-haproxy is for the rate limiter only");
            Ok(ExitCode::from(2))
        }
        Which::IpReputation => ip_reputation::run(options.keep).await,
    }
}

async fn find_haproxy() -> Result<Haproxy> {
    tokio::task::spawn_blocking(Haproxy::distribution)
        .await?
        .map_err(|error| {
            anyhow::anyhow!("{error:#} — or go without: cargo xtask demo --without-haproxy")
        })
}
