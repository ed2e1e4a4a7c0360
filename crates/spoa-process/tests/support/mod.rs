//! A test that starts its own program anew, to be an agent in a process of its own.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::io::BufRead;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;
use spoa_process::{Agent, Options, run};

/// For a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Set in the child.
const CHILD: &str = "TEST_CHILD";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Runs this test once more, as the child: where [`is_child`]. It is the process of a shell that
/// does `first` before. It listens on free ports, unless told otherwise.
pub(crate) fn child(test: &str, first: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &format!("{first}\nexec \"$@\""), "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(CHILD, "1")
        .env("SPOE_ADDR", "127.0.0.1:0")
        .env("SPOA_ADMIN_ADDR", "127.0.0.1:0");
    command
}

/// Whether this process is the agent, or else the test.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// In the child: the whole life of what `prepare` makes.
pub(crate) fn live(prepare: impl FnOnce() -> Result<Agent, String>) -> ExitCode {
    let Arguments { options } = Arguments::parse_from(["agent"]);
    run::<Arguments>("agent", options, async |_log| Ok(prepare()?))
}

/// What follows `text` in the next line that has it.
pub(crate) fn after(text: &str, output: &mut impl BufRead) -> String {
    let mut lines = output.lines().map(Result::unwrap);
    let found = lines.find_map(|line| Some(line.split_once(text)?.1.to_owned()));
    found.unwrap()
}

/// How the child ended. One that does not is killed.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(5));
    }
}
