//! The `spoa-ip-reputation` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use spoa_ip_reputation::check_ip::{self, Reputation};
use spoa_ip_reputation::lists::{Lists, Sources};
use spoa_ip_reputation::metrics;
use spoa_process::{Agent, Options, Watched, parse, run};

const NAME: &str = "spoa-ip-reputation";

/// A score for each client's address, from lists of networks, for HAProxy.
///
/// HAProxy asks over SPOP with the message `check-ip`; the agent answers with the variables
/// `sess.<prefix>.ip_score` and `txn.<prefix>.ip_score`. SIGHUP reads the lists again; SIGTERM
/// and SIGINT end it.
#[derive(Parser)]
#[command(version, after_help = spoa_process::EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Files of networks and their scores, 0 to 100: SCORE=FILE,SCORE=FILE,… Unset: none, and
    /// every address has score 0.
    #[arg(long, env, default_value = "", hide_default_value = true)]
    spoa_ip_lists: Sources,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse(NAME);
    let sources = arguments.spoa_ip_lists;
    run::<Arguments>(NAME, arguments.options, async |log| {
        let files = sources.0.iter().map(|(_, path)| path.clone()).collect();
        let lists = Watched::start("lists", files, log, move || Lists::read(&sources))?;
        let reputation = Arc::new(Reputation::new(Arc::clone(&lists)));
        let agent = Agent::new(check_ip::router(Arc::clone(&reputation)));
        Ok(agent
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_start(lists.load())
            .with_metrics(move |page| metrics::show(&reputation, page)))
    })
}
