//! SIGTERM. A test program of its own, since the whole process hears it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufReader, Read as _};
use std::process::{ExitCode, Stdio};

use rustix::process::{Pid, Signal, getpid, kill_process};
use spoa_process::log::{self, Directives, Format};
use spoa_process::{AdminAddr, Agent, listen};
use spop_server::{Config, Router};
use support::{PATIENCE, after, child, is_child, live};
use tokio::time::timeout;

#[test]
fn who_says_that_it_listens_does_not_die_of_sigterm() {
    if is_child() {
        let ended = live(|| Ok(Agent::new(Router::new())));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    for _ in 0..20 {
        let mut child = child("who_says_that_it_listens_does_not_die_of_sigterm", "")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        after("spoe agent listening on ", &mut output);
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
