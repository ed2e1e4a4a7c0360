//! Traces that are left when the process ends.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufReader, Read as _};
use std::net::TcpListener;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use spoa_process::Agent;
use spop_client::Client;
use spop_client::spop_codec::TypedData;
use spop_server::{Config, Router};
use support::{after, child, ended, is_child, live};
use tokio::runtime::Runtime;

#[test]
fn a_collector_that_never_answers_does_not_keep_it() {
    if is_child() {
        let config = Config::new().with_drain_timeout(Duration::MAX);
        let ended = live(|| Ok(Agent::new(Router::new()).with_config(config)));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    // Whoever connects is in its queue.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let mut child = child("a_collector_that_never_answers_does_not_keep_it", "")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
        // Nothing is sent before the end.
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let addr = after("spoe agent listening on ", &mut output);
    let ask = async {
        let mut client = Client::connect(&*addr).await.unwrap();
        let source = ("ip_src", TypedData::Ipv4([192, 0, 2, 7].into()));
        client.notify("check", [source]).await.unwrap();
    };
    Runtime::new().unwrap().block_on(ask);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = ended(&mut child);
    let mut log = String::new();
    child.stderr.unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the last traces are lost"), "{log}");
    // It was asked.
    collector.set_nonblocking(true).unwrap();
    collector.accept().unwrap();
}
