//! A shell that is typed into, a line at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// For one line.
const PATIENCE: Duration = Duration::from_secs(300);
/// Behind what a line has printed, with its exit code.
const MARK: &str = "--- done: ";
/// Ends what runs in the background, also when the test was killed and there is nobody to drop
/// the shell.
const GOODBYE: &str = "trap 'jobs -p | xargs -r kill 2>/dev/null; wait' EXIT";

pub(crate) struct Shell {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Shell {
    /// One in this directory, with the programs of another one.
    pub(crate) fn start(dir: &Path, programs: &Path) -> Self {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        // What Cargo tells tests is not for the Cargo that is typed.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_", "SPOA_", "SPOE_", "VALKEY_"]
                .iter()
                .any(|own| text.starts_with(own))
                && !text.starts_with("CARGO_HOME")
            {
                command.env_remove(&name);
            }
        }
        for name in ["CARGO_INCREMENTAL", "CARGO_PROFILE_DEV_DEBUG"] {
            command.envs(std::env::var(name).map(|value| (name, value)));
        }
        let mut child = command
            .args(["--noprofile", "--norc"])
            .current_dir(dir)
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut shell = Self {
            input: child.stdin.take(),
            child,
            output,
        };
        shell.run(GOODBYE);
        shell
    }

    /// Sets an environment variable for what follows.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.run(&format!("export {name}='{value}'"));
    }

    /// Types a line, waits until it is done, and says what was printed meanwhile. It must not fail.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}\necho \"{MARK}$?\"").unwrap();
        let started = Instant::now();
        let mut printed = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let said = self.output.recv_timeout(left);
            let said = said.unwrap_or_else(|_| panic!("no end of {line:?}: {printed:?}"));
            let Some(code) = said.strip_prefix(MARK) else {
                printed.push(said);
                continue;
            };
            assert_eq!(code, "0", "{line:?} printed {printed:?}");
            return printed;
        }
    }

    /// Waits until what was started last listens there. It must not end before.
    pub(crate) fn wait_for(&mut self, addr: SocketAddr) {
        let started = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(started.elapsed() < PATIENCE, "nothing listens on {addr}");
            self.run("kill -0 $!");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What it started does not outlive the shell, also when a test fails or a line hangs.
impl Drop for Shell {
    fn drop(&mut self) {
        // The end of what is typed, after which it says goodbye.
        drop(self.input.take());
        let shell = Pid::from_child(&self.child);
        // Only looked at: while nobody has waited for it, its group's number is not another's.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10)
            && matches!(waitid(WaitId::Pid(shell), look), Ok(None))
        {
            thread::sleep(Duration::from_millis(10));
        }
        kill_process_group(shell, Signal::KILL).ok();
        self.child.wait().ok();
    }
}
