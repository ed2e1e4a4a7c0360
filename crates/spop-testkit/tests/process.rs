//! What tests rely on when things go wrong: a process ends with its owner, and says why it
//! did not start.

use std::path::Path;
use std::time::Duration;

use spop_testkit::process::{Process, Signal};
use spop_testkit::tools::Program;

const LONG: Duration = Duration::from_secs(30);

fn shell(script: &str) -> anyhow::Result<Process> {
    Process::spawn("the shell", &Program::at("/bin/sh"), |command| {
        command.args(["-c", script]);
    })
}

#[tokio::test]
async fn a_process_ends_when_dropped() {
    let process = shell("echo here; exec sleep 1000").unwrap();
    process.line("here", LONG).await.unwrap();
    let entry = format!("/proc/{}", process.id());
    assert!(Path::new(&entry).exists());
    drop(process);
    assert!(!Path::new(&entry).exists());
}

#[tokio::test]
async fn an_early_end_is_told_with_the_last_output() {
    let process = shell("echo first; echo 'no such setting' >&2; exit 3").unwrap();
    let error = process
        .line("never said", LONG)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the shell ended (exit status: 3)"),
        "{error}"
    );
    assert!(error.contains("no such setting"), "{error}");
}

#[tokio::test]
async fn signals_arrive_and_the_end_is_awaited() {
    let process = shell("trap 'echo bye; exit 7' TERM; echo here; while :; do sleep 0.01; done");
    let process = process.unwrap();
    process.line("here", LONG).await.unwrap();
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait(LONG).await.unwrap().code(), Some(7));
    assert_eq!(process.log().last().map(String::as_str), Some("bye"));
    // It is gone; its number may be another's by now.
    process.signal(Signal::KILL).unwrap();
}
