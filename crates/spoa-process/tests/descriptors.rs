//! Few file descriptors, and many connections.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use spoa_process::Agent;
use spop_server::Router;
use support::{after, child, is_child, live};

#[test]
fn a_crowd_of_connections_keeps_no_probe_out() {
    if is_child() {
        let ended = live(|| Ok(Agent::new(Router::new())));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    let mut child = child("a_crowd_of_connections_keeps_no_probe_out", "ulimit -n 60")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let spop = after("spoe agent listening on ", &mut output);
    let admin = after("metrics at http://", &mut output);

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
