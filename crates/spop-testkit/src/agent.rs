//! Runs an agent's binary, such as `spoa-gcra`, on a free loopback port.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::port;
use crate::process::{Process, Signal};
use crate::tools::Program;

/// An agent listens within 50 ms; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How agents' own settings begin; what the caller's environment holds of them is not
/// passed on.
const SETTINGS: [&str; 6] = ["SPOE_", "SPOA_", "VALKEY_", "RUST_LOG", "TOKIO_", "OTEL_"];

/// Keeps an agent that `command` starts from this process's settings of an agent.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SETTINGS.iter().any(|setting| text.starts_with(setting)) {
            command.env_remove(&name);
        }
    }
    command
}

/// What to run, and how.
pub struct Setup {
    binary: PathBuf,
    addr: Option<SocketAddr>,
    settings: Vec<(String, String)>,
    on_line: Box<dyn Fn(&str) + Send + Sync>,
}

impl Setup {
    /// The agent's binary: `env!("CARGO_BIN_EXE_spoa-gcra")` in that package's tests.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        Self {
            binary: binary.as_ref().to_path_buf(),
            addr: None,
            settings: Vec::new(),
            on_line: Box::new(|_| {}),
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Listens here, instead of on a port of its own: where an earlier agent was.
    #[must_use]
    pub fn addr(mut self, addr: SocketAddr) -> Self {
        self.addr = Some(addr);
        self
    }

    /// Gives each line of its output to `on_line`, on a thread of its own.
    #[must_use]
    pub fn on_line(mut self, on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_line = Box::new(on_line);
        self
    }

    /// Starts it and waits for the line that says where it listens.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub async fn start(self) -> Result<Agent> {
        let addr = match self.addr {
            Some(addr) => addr,
            None => port::free_addr()?,
        };
        if !self.binary.exists() {
            bail!("no agent at {}; build it first", self.binary.display());
        }
        let name = self.binary.file_stem().unwrap_or_default();
        let program = Program::at(&self.binary);
        let process = Process::spawn_watched(
            &name.to_string_lossy(),
            &program,
            |command| {
                without_settings(command);
                // Its lines are searched for words, which colours would cut up.
                command.env("NO_COLOR", "1");
                command.env("SPOE_ADDR", addr.to_string());
                // Agents that run at the same time would get in each other's way.
                command.env("SPOA_ADMIN_ADDR", "off");
                command.envs(self.settings);
            },
            self.on_line,
        )?;
        process.line("listening on", PATIENCE).await?;
        Ok(Agent { process, addr })
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("binary", &self.binary)
            .field("addr", &self.addr)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A running agent, ended when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    addr: SocketAddr,
}

impl Agent {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its output so far.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Sends a signal: TERM to end it in an orderly way, KILL for the other, STOP and CONT.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// The memory that it occupies now, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("the process has ended")?.parse()?;
        Ok(kib * 1024)
    }

    /// The process: its id, its end.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
