//! Socket activation: what systemd says is out of the environment before an agent has threads.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use spoa_process::{Options, run};

/// Set in the child: this test, started anew, is the agent then.
const CHILD: &str = "TEST_CHILD";

/// Becomes the agent, under the shell's own process id, as systemd does it.
const ACTIVATE: &str = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=spop; exec \"$@\" 3<&0";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[test]
fn the_environment_is_clear_before_anything_is_prepared() {
    if env::var_os(CHILD).is_some() {
        let Arguments { options } = Arguments::parse_from(["agent"]);
        let ended = run::<Arguments>("agent", options, async |_log| {
            let variables = ["LISTEN_PID", "LISTEN_FDS"];
            let left = variables.map(|name| env::var_os(name).is_some());
            Err(format!("left in the environment: {left:?}").into())
        });
        assert_eq!(ended, ExitCode::from(2));
        return;
    }
    let output = Command::new("/bin/sh")
        .args(["-c", ACTIVATE, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("the_environment_is_clear_before_anything_is_prepared")
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let line = "agent: left in the environment: [false, false]";
    assert!(said.lines().any(|own| own == line), "{said}");
    assert!(output.status.success(), "{said}");
}
