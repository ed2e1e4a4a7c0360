//! `spop bench` as a user runs it. Counts are compared, never times.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../agent/mod.rs"]
mod agent;
mod faults;
mod load;

use std::process::Command;

use serde_json::Value;

/// How a run ended.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The summary of `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// What standard error says last. Before it comes progress, if the machine is slow.
    pub(crate) fn verdict(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// Runs `spop bench` briefly beside the test's agent.
pub(crate) async fn bench(addr: impl ToString, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spop"));
    command.args(["bench", &addr.to_string()]).args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) const BRIEF: [&str; 5] = ["--json", "--duration", "200ms", "--warmup", "20ms"];

/// More time than the agent needs, so that a slow machine changes nothing.
pub(crate) const PATIENT: [&str; 2] = ["--timeout", "60000"];

/// For agents that do not answer. Connecting must not take longer.
pub(crate) const SHORT: [&str; 2] = ["--timeout", "1000"];

#[track_caller]
pub(crate) fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap()
}

/// Every NOTIFY is answered, late or missing.
#[track_caller]
pub(crate) fn adds_up(summary: &Value) {
    let parts = ["answered", "late", "missing"].map(|part| count(summary, part));
    assert_eq!(
        count(summary, "sent"),
        parts.iter().sum::<u64>(),
        "{summary}"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let (_socket, addr) = agent::nobody();
    let run = bench(addr, &[]).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    let start = format!("spop: {addr}: cannot connect: ");
    assert!(run.verdict().starts_with(&start), "{}", run.stderr);
}

#[tokio::test]
async fn a_wrong_command_line() {
    for (args, explanation) in [
        (&["--connections", "0"][..], "1..=65536"),
        (&["--window", "10001"], "1..=10000"),
        (&["--rate", "0"], "1..=10000000"),
        (&["--payload", "16381"], "1..=16380"),
        (&["--threads", "257"], "1..=256"),
        (&["--jitter"], "--rate"),
        (
            &["--duration", "5"],
            "such as 500ms or 5s, from 1ms to 1440m",
        ),
        (&["--duration", "0s"], "from 1ms"),
        (&["--warmup", "-1s"], "-1"),
        (&["--arg", "a"], "NAME=VALUE"),
        (&["--random-ip", "ip=0"], "COUNT from 1 to 16777216"),
        (
            &["--pid", "4294967295"],
            "cannot read the CPU time of process",
        ),
        (&["--pid", "me"], "the id of a process"),
        (&["--message", ""], "value is required"),
    ] {
        let run = bench("localhost:1", args).await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.contains(explanation), "{args:?}: {}", run.stderr);
    }
}

#[tokio::test]
async fn help() {
    let run = bench("--help", &[]).await;
    assert_eq!(run.code, Some(0));
    for word in [
        "spop bench 127.0.0.1:9000",
        "Prints:",
        "Exit status:",
        "[default: 16]",
    ] {
        assert!(run.stdout.contains(word), "{word}");
    }
}
