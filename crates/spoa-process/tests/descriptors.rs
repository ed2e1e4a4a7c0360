//! Few file descriptors, and many connections.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use spoa_process::{Agent, Options, run};
use spop_server::Router;

/// Set in the child: this test, started anew, is the agent then.
const CHILD: &str = "TEST_CHILD";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[test]
fn a_crowd_of_connections_keeps_no_probe_out() {
    if env::var_os(CHILD).is_some() {
        let Arguments { options } = Arguments::parse_from(["agent"]);
        let ended = run::<Arguments>("agent", options, async |_log| Ok(Agent::new(Router::new())));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    let mut child = Command::new("/bin/sh")
        .args(["-c", "ulimit -n 60; exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_crowd_of_connections_keeps_no_probe_out")
        .env(CHILD, "1")
        .env("SPOE_ADDR", "127.0.0.1:0")
        .env("SPOA_ADMIN_ADDR", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut after = |text: &str| {
        let mut lines = output.by_ref().map(Result::unwrap);
        lines.find_map(|line| Some(line.split_once(text)?.1.to_owned()))
    };
    let spop = after("spoe agent listening on ").unwrap();
    let admin = after("metrics at http://").unwrap();

    let crowd: Vec<TcpStream> = (0..120)
        .map(|_| TcpStream::connect(&spop).unwrap())
        .collect();
    for path in ["/livez", "/metrics"] {
        let mut probe = TcpStream::connect(admin.trim_end_matches("/metrics")).unwrap();
        write!(probe, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(!answer.contains("accept_errors_total 1"), "{answer}");
    }
    drop(crowd);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());
    let line = "at most 30 connections, not 4096: this process may have 60 files open";
    assert!(log.contains(line), "{log}");
}
