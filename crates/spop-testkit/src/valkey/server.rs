//! One Valkey server, standalone or a cluster's node.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{Clock, PATIENCE};
use crate::port;
use crate::process::{Process, Signal};
use crate::tools::Valkey;

/// One server. Its data is gone when it ends.
#[derive(Debug)]
pub struct Server {
    valkey: Valkey,
    arguments: Vec<String>,
    process: Mutex<Process>,
    port: u16,
    clock: Option<Clock>,
    /// Where it runs; removed on drop, after the process.
    _dir: TempDir,
}

impl Server {
    /// Starts a standalone server and waits until it answers.
    ///
    /// # Errors
    /// When Valkey cannot be had or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// [`Server::start`] with further arguments, such as `["--requirepass", "secret"]`.
    ///
    /// # Errors
    /// When Valkey cannot be had or does not start.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        let server = Self::launch(&Valkey::find()?, port::free()?, arguments, false)?;
        server.answers().await?;
        Ok(server)
    }

    /// Starts one on `port`, with a clock of its own if told so, and waits for nothing.
    pub(super) fn launch(
        valkey: &Valkey,
        port: u16,
        further: &[&str],
        own_clock: bool,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("valkey-")
            .tempdir_in(place())?;
        let clock = own_clock.then(|| Clock::new(dir.path())).transpose()?;
        let arguments = arguments(port, dir.path(), further);
        Ok(Self {
            process: Mutex::new(spawn(valkey, &arguments, clock.as_ref())?),
            valkey: valkey.clone(),
            arguments,
            port,
            clock,
            _dir: dir,
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The operating system's id of its process.
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    /// Its own clock, if it was started with one: see [`Setup::clocks`](super::Setup).
    pub fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// Kills it with SIGKILL; its clients see a reset, later ones a refused connection.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Kills it, if it still runs, and starts it anew on the same port, empty; a cluster's
    /// node keeps its identity and slots.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&self) -> Result<()> {
        self.restart_with(&[]).await
    }

    /// [`Server::restart`] with further arguments; they are in force until the next restart, and
    /// win over those it was started with.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_with(&self, arguments: &[&str]) -> Result<()> {
        self.kill();
        let further = arguments.iter().copied().map(String::from);
        let arguments: Vec<_> = self.arguments.iter().cloned().chain(further).collect();
        *self.process() = spawn(&self.valkey, &arguments, self.clock.as_ref())?;
        self.answers().await
    }

    /// Sends a signal, such as STOP to freeze it and CONT to go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process().signal(signal)
    }

    /// Runs `valkey-cli` against it and returns what that prints, without the last newline.
    ///
    /// # Errors
    /// When `valkey-cli` fails. (A server's error reply is ordinary output.)
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.valkey.cli.command());
        command.args(["-h", "127.0.0.1", "-p"]);
        let output = command
            .arg(self.port.to_string())
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "valkey-cli {}: {said}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(said.trim_end_matches('\n').to_owned())
    }

    /// The newest lines of its log.
    pub fn log(&self) -> Vec<String> {
        self.process().log()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn answers(&self) -> Result<()> {
        self.until(async || {
            // With a password, the error reply is as good a sign of life.
            let reply = self.cli(&["ping"]).await.unwrap_or_default();
            reply == "PONG" || reply.starts_with("NOAUTH")
        })
        .await
        .context("valkey-server does not answer")
    }

    pub(super) async fn until(&self, ready: impl AsyncFn() -> bool) -> Result<()> {
        let limit = tokio::time::Instant::now() + PATIENCE;
        while !ready().await {
            let exited = self.process().exited()?;
            if exited.is_some() || tokio::time::Instant::now() > limit {
                let log = self.log();
                let tail = log.get(log.len().saturating_sub(20)..).unwrap_or_default();
                bail!("not ready, exit status {exited:?}:\n{}", tail.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Where directories are made: in memory, unless told otherwise by `TMPDIR`. A cluster's
/// node lets everybody wait while it writes to its disk what it has learnt of the cluster.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if env::var_os("TMPDIR").is_none() && memory.is_dir() {
        memory
    } else {
        env::temp_dir()
    }
}

fn arguments(port: u16, dir: &Path, further: &[&str]) -> Vec<String> {
    let mut arguments = vec![
        "--bind".to_owned(),
        "127.0.0.1".to_owned(),
        "--port".to_owned(),
        port.to_string(),
        "--dir".to_owned(),
        dir.display().to_string(),
    ];
    // The empty word after --save means: no snapshots.
    arguments.extend(["--save", "", "--appendonly", "no"].map(String::from));
    arguments.extend(further.iter().copied().map(String::from));
    arguments
}

fn spawn(valkey: &Valkey, arguments: &[String], clock: Option<&Clock>) -> Result<Process> {
    Process::spawn("valkey-server", &valkey.server, |command| {
        command.args(arguments);
        if let Some(clock) = clock {
            command.envs(
                clock
                    .environment()
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        }
    })
}
