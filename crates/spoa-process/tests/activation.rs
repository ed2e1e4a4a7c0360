//! Socket activation: what systemd says is out of the environment before an agent has threads.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::env;
use std::process::{ExitCode, Stdio};

use support::{child, is_child, live};

/// Becomes the agent, under the shell's own process id, as systemd does it.
const ACTIVATE: &str = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=spop; exec 3<&0";

#[test]
fn the_environment_is_clear_before_anything_is_prepared() {
    if is_child() {
        let ended = live(|| {
            let variables = ["LISTEN_PID", "LISTEN_FDS"];
            let left = variables.map(|name| env::var_os(name).is_some());
            Err(format!("left in the environment: {left:?}"))
        });
        assert_eq!(ended, ExitCode::from(2));
        return;
    }
    let output = child(
        "the_environment_is_clear_before_anything_is_prepared",
        ACTIVATE,
    )
    .stdin(Stdio::null())
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let line = "agent: left in the environment: [false, false]";
    assert!(said.lines().any(|own| own == line), "{said}");
    assert!(output.status.success(), "{said}");
}
