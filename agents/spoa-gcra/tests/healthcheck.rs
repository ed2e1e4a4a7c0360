//! `spoa-gcra healthcheck` against agents of every kind of address, and against none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use spop_testkit::agent::{Agent, Setup, without_settings};
use spop_testkit::process::Signal;

const AGENT: &str = env!("CARGO_BIN_EXE_spoa-gcra");

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the check with these variables and no others of the agent's.
fn healthcheck(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(AGENT);
    without_settings(&mut command).arg("healthcheck");
    command.args(arguments);
    command.envs(settings.iter().copied()).output().unwrap()
}

#[track_caller]
fn healthy(arguments: &[&str], settings: &[(&str, &str)]) {
    let output = healthcheck(arguments, settings);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(" is healthy: answered in "), "{said}");
    assert!(output.stderr.is_empty());
}

/// The one line that it says instead.
#[track_caller]
fn unhealthy(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = healthcheck(arguments, settings);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said
}

async fn agent_at(addr: &str) -> Agent {
    let setup = Setup::new(AGENT).set("SPOE_ADDR", addr);
    setup.start().await.unwrap()
}

#[tokio::test]
async fn over_tcp() {
    let agent = Setup::new(AGENT).start().await.unwrap();
    let addr = agent.addr().to_string();
    healthy(&[], &[("SPOE_ADDR", &addr)]);
    healthy(&["--addr", &addr], &[]);
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, agent.addr().port()));
    healthy(&[], &[("SPOE_ADDR", &everywhere.to_string())]);
    healthy(
        &[],
        &[("SPOE_ADDR", &format!("localhost:{}", agent.addr().port()))],
    );
}

#[tokio::test]
async fn that_nobody_reads_it_says_nothing_about_the_agent() {
    let agent = Setup::new(AGENT).start().await.unwrap();
    let addr = agent.addr().to_string();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(AGENT);
    command.args(["healthcheck", "--addr", &addr]).stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn over_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("unix@{}", dir.path().join("agent.sock").display());
    let name = format!("abns@spoa-gcra-test-{}", std::process::id());
    for addr in [path, name] {
        let agent = agent_at(&addr).await;
        let listening = format!("spoa-gcra listening on {addr}");
        assert!(agent.log().contains(&listening), "{:?}", agent.log());
        healthy(&[], &[("SPOE_ADDR", &addr)]);
        drop(agent);
        unhealthy(&[], &[("SPOE_ADDR", &addr)]);
    }
}

#[tokio::test]
async fn no_other_setting_counts() {
    let agent = Setup::new(AGENT).start().await.unwrap();
    healthy(
        &[],
        &[
            ("SPOE_ADDR", &agent.addr().to_string()),
            ("SPOA_CONFIG", "/nowhere/policies.toml"),
            ("SPOA_RATE_INTERVAL", "fast"),
            ("VALKEY_NODES", "valkey.invalid:6379"),
            ("VALKEY_PASSWORD_FILE", "/nowhere/password"),
            ("RUST_LOG", "="),
            ("SPOA_UNKNOWN", "1"),
        ],
    );
}

#[test]
fn nobody_is_not_healthy() {
    let addr = spop_testkit::port::free_addr().unwrap();
    let said = unhealthy(&[], &[("SPOE_ADDR", &addr.to_string())]);
    assert!(
        said.starts_with(&format!(
            "spoa-gcra: {addr} is not healthy: cannot connect: "
        )),
        "{said}"
    );
    unhealthy(&["--addr", "unix@/nowhere/agent.sock"], &[]);
    unhealthy(&["--addr", "valkey.invalid:9000"], &[]);
}

#[test]
fn one_that_is_silent_is_not_waited_for_long() {
    // The kernel connects; nobody accepts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let said = unhealthy(&["--addr", &addr], &[]);
    assert!(said.contains("no AGENT-HELLO within 3000 ms"), "{said}");
}

#[tokio::test]
async fn an_agent_that_is_about_to_end_is_not_healthy() {
    let setup = Setup::new(AGENT).set("SPOA_LAME_DUCK", 600_000);
    let agent = setup.start().await.unwrap();
    let addr = agent.addr().to_string();
    healthy(&["--addr", &addr], &[]);
    agent.signal(Signal::TERM).unwrap();
    let begin = Instant::now();
    while healthcheck(&["--addr", &addr], &[]).status.success() {
        assert!(begin.elapsed() < PATIENCE, "it stays healthy");
    }
    let said = unhealthy(&["--addr", &addr], &[]);
    assert!(
        said.contains("the agent disconnected with status"),
        "{said}"
    );
}

#[test]
fn where_the_agent_is_has_to_be_known() {
    for addr in ["fd@spop", "fd@3", "127.0.0.1:0"] {
        let said = unhealthy(&[], &[("SPOE_ADDR", addr)]);
        assert!(said.starts_with(&format!("spoa-gcra: {addr}: ")), "{said}");
        assert!(said.contains("--addr 127.0.0.1:9000"), "{said}");
    }
}

#[test]
fn a_bad_setting_is_another_exit_code() {
    for (arguments, settings) in [
        (&[][..], &[("SPOE_ADDR", "9000")][..]),
        (&["--addr", "9000"], &[]),
    ] {
        let output = healthcheck(arguments, settings);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("no port"), "{said}");
        assert!(output.stdout.is_empty());
    }
}
