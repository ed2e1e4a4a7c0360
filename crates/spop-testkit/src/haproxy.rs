//! Runs HAProxy with the files that this project ships in `deploy/haproxy`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::http::Client;
use crate::port;
use crate::process::{Process, Signal};
use crate::tools::{Haproxy, workspace_root};

/// HAProxy is there within 0.2 s; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The configuration, in this workspace. It names the SPOE file beside it.
const SHIPPED: &str = "deploy/haproxy/haproxy.cfg";

/// What a HAProxy is told beside the shipped files.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The agent that it asks.
    pub agent: SocketAddr,
    /// A second agent, which gets every other request.
    pub second_agent: Option<SocketAddr>,
    /// The web service behind it.
    pub web: SocketAddr,
    /// How long it waits for the agent; None leaves the 15 ms of the shipped file. A test
    /// of *what* is answered should not fail because a busy machine took 16 ms.
    pub timeout: Option<Duration>,
    /// Lines of the shipped file, by how they begin, and what is to stand in their place:
    /// `("filter spoe", "")` for a HAProxy that asks nobody.
    pub changes: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// One agent, and the shipped timeout.
    pub fn new(agent: SocketAddr, web: SocketAddr) -> Self {
        Self {
            agent,
            second_agent: None,
            web,
            timeout: None,
            changes: Vec::new(),
        }
    }
}

/// A running HAProxy, ended when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    http: SocketAddr,
    stats: SocketAddr,
    /// Where its configuration is, if it is not the shipped one.
    _config: Option<TempDir>,
}

impl Server {
    /// Starts it on free ports and waits until it takes connections. No request is sent, as
    /// it would count against the limit.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub async fn start(haproxy: &Haproxy, setup: &Setup) -> Result<Self> {
        let http = port::free_addr()?;
        let stats = port::free_addr()?;
        let name = format!("haproxy {}", haproxy.version());
        let shipped = workspace_root().join(SHIPPED);
        let (path, config) = if setup.changes.is_empty() {
            (shipped, None)
        } else {
            let (path, config) = changed_copy(&shipped, &setup.changes)?;
            (path, Some(config))
        };
        let process = Process::spawn(&name, haproxy.program(), |command| {
            // In the foreground, and -dR: a port that another HAProxy took is an error, not
            // shared with it.
            command
                .args(["-db", "-dR", "-f"])
                .arg(path)
                .env("HTTP_BIND", http.to_string())
                .env("STATS_BIND", stats.to_string());
            set_environment(command, setup);
        })?;
        let server = Self {
            process,
            http,
            stats,
            _config: config,
        };
        server
            .process
            .ready(PATIENCE, async || {
                TcpStream::connect(stats).await.is_ok() && TcpStream::connect(http).await.is_ok()
            })
            .await?;
        Ok(server)
    }

    /// The web service through this HAProxy: `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Its statistics page.
    pub fn stats_url(&self) -> String {
        format!("http://{}/", self.stats)
    }

    /// What HAProxy thinks of a server, such as `UP` or `DOWN`: `spoe-agents` holds `agent1`
    /// and `agent2`, `web` holds `web`.
    ///
    /// # Errors
    /// When the statistics cannot be had or have no such server.
    pub async fn status_of(&self, backend: &str, server: &str) -> Result<String> {
        let answer = Client::new().get(self.stats_url() + ";csv").send().await?;
        let csv = String::from_utf8_lossy(&answer.body).into_owned();
        let mut lines = csv.lines().map(|line| line.split(','));
        let mut head = lines.next().context("no statistics")?;
        let column = head
            .position(|name| name == "status")
            .context("no status")?;
        lines
            .filter_map(|mut line| {
                let named = line.next() == Some(backend) && line.next() == Some(server);
                // Two columns are taken already.
                named.then(|| line.nth(column - 2)).flatten()
            })
            .next()
            .map(String::from)
            .with_context(|| format!("no server {backend}/{server}"))
    }

    /// Its log: a line for each request, and each server's going down and up.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Sends a signal: USR1 for a soft stop, TERM for one at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A copy of the shipped files, with the lines that begin in one of these ways replaced.
fn changed_copy(shipped: &Path, changes: &[(&str, &str)]) -> Result<(PathBuf, TempDir)> {
    let text = fs::read_to_string(shipped)?;
    let mut lines: Vec<&str> = text.lines().collect();
    for (beginning, replacement) in changes {
        let line = lines
            .iter_mut()
            .find(|line| line.trim_start().starts_with(beginning))
            .with_context(|| format!("{} has no line {beginning:?}", shipped.display()))?;
        *line = replacement;
    }
    let dir = TempDir::with_prefix("haproxy-")?;
    let path = dir.path().join("haproxy.cfg");
    fs::write(&path, lines.join("\n") + "\n")?;
    // Looked for beside the configuration.
    let engine = Path::new("spoe-rate-limit.conf");
    fs::copy(shipped.with_file_name(engine), dir.path().join(engine))?;
    Ok((path, dir))
}

/// Asks a HAProxy whether it takes the shipped files, with one agent and with two.
///
/// # Errors
/// When it finds a mistake or has so much as a warning, with what it said.
pub fn check_shipped_files(haproxy: &Haproxy) -> Result<()> {
    let somewhere = SocketAddr::from(([127, 0, 0, 1], 9000));
    let mut setup = Setup::new(somewhere, somewhere);
    for second_agent in [None, Some(SocketAddr::from(([127, 0, 0, 1], 9001)))] {
        setup.second_agent = second_agent;
        let mut command = haproxy.program().command();
        command
            .args(["-c", "-dW", "-f"])
            .arg(workspace_root().join(SHIPPED));
        set_environment(&mut command, &setup);
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("HAProxy {} refuses {SHIPPED}:\n{said}", haproxy.version());
        }
    }
    Ok(())
}

fn set_environment(command: &mut Command, setup: &Setup) {
    command
        .env("SPOE_AGENT", setup.agent.to_string())
        .env("WEB_BACKEND", setup.web.to_string())
        .env_remove("SPOE_AGENT_2")
        .env_remove("SPOE_TIMEOUT");
    if let Some(agent) = setup.second_agent {
        command.env("SPOE_AGENT_2", agent.to_string());
    }
    if let Some(timeout) = setup.timeout {
        command.env("SPOE_TIMEOUT", format!("{}ms", timeout.as_millis()));
    }
}
