//! SIGTERM. A test program of its own, since the whole process hears it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use rustix::process::{Pid, Signal, getpid, kill_process};
use spoa_process::log::{self, Directives, Format};
use spoa_process::{AdminAddr, Agent, Options, listen, run};
use spop_server::{Config, Router};
use tokio::time::timeout;

/// Set in the child: this test, started anew, is the agent then.
const CHILD: &str = "TEST_CHILD";

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[test]
fn who_says_that_it_listens_does_not_die_of_sigterm() {
    if env::var_os(CHILD).is_some() {
        let Arguments { options } = Arguments::parse_from(["agent"]);
        let ended = run::<Arguments>("agent", options, async |_log| Ok(Agent::new(Router::new())));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    for _ in 0..20 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("who_says_that_it_listens_does_not_die_of_sigterm")
            .env(CHILD, "1")
            .env("SPOE_ADDR", "127.0.0.1:0")
            .env("SPOA_ADMIN_ADDR", "off")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("spoe agent listening on") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0);
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        // So that it does not wait for a reader.
        output.read_to_end(&mut Vec::new()).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[tokio::test]
async fn a_signal_before_it_serves_counts() {
    let addr = "127.0.0.1:0".parse().unwrap();
    let listening = listen(&addr, &AdminAddr::off()).await.unwrap();
    kill_process(getpid(), Signal::TERM).unwrap();
    let log = log::start(&Directives::default(), Format::default());
    let (config, admin) = (Config::new(), listening.admin());
    let served = listening.serve(Router::new(), config, admin, log, "started");
    timeout(PATIENCE, served).await.unwrap().unwrap();
}
