//! An agent that runs out of file descriptors, in a child process that may have few.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spop_client::Client;
use spop_server::{Config, Observer, serve};
use spop_testkit::port;
use spop_testkit::process::Process;
use spop_testkit::tools::Program;
use support::{obedient, only};
use tokio::net::TcpListener;

/// For anything that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set in the child, to the address it is to listen on.
const CHILD: &str = "SPOP_TEST_CHILD";

/// More than a runtime needs, and fewer than there are connections.
const DESCRIPTORS: usize = 48;

struct Tell;

impl Observer for Tell {
    fn accept_failed(&self, error: &io::Error) {
        println!("cannot accept: {error}");
    }
}

#[tokio::test]
async fn an_agent_out_of_file_descriptors_waits_and_goes_on() {
    if let Ok(address) = env::var(CHILD) {
        tracing_subscriber::fmt().with_ansi(false).init();
        let listener = TcpListener::bind(address).await.unwrap();
        println!("listening");
        let config = Config::new().with_observer(Arc::new(Tell));
        return serve(listener, obedient())
            .with_config(config)
            .await
            .unwrap();
    }
    let address = port::free_addr().unwrap();
    let agent = agent_process(address);
    agent.line("listening", PATIENCE).await.unwrap();
    let mut before = Client::connect(address).await.unwrap();

    // The kernel takes them all; the agent cannot.
    let crowd: Vec<_> = (0..2 * DESCRIPTORS)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let failures = || {
        let log = agent.log();
        let failed = log.iter().filter(|line| line.contains("cannot accept"));
        failed.count()
    };
    agent
        .ready(PATIENCE, async || failures() >= 3)
        .await
        .unwrap();
    let failure = agent.line("cannot accept", PATIENCE).await.unwrap();
    assert!(failure.contains("os error 24"), "{failure}");
    // Meanwhile those that are there are served.
    let ack = before.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");

    drop(crowd);
    let mut after = Client::connect(address).await.unwrap();
    let ack = after.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    let ack = before.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");

    let log = agent.log();
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("accepting fails"), "{warnings:?}");
}

/// This test, as an agent that may have few descriptors open.
fn agent_process(address: SocketAddr) -> Process {
    Process::spawn("the agent", &Program::at("/bin/sh"), |command| {
        command
            .arg("-c")
            .arg(format!("ulimit -n {DESCRIPTORS} && exec \"$@\""))
            .arg("sh")
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "an_agent_out_of_file_descriptors_waits_and_goes_on",
                "--nocapture",
            ])
            .env(CHILD, address.to_string());
    })
    .unwrap()
}
