//! Runs HAProxy: with the files that this project ships in `deploy/haproxy`, or with a
//! test's own.

use std::fs;
use std::mem;
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
    /// A third one.
    pub third_agent: Option<SocketAddr>,
    /// The web service behind it.
    pub web: SocketAddr,
    /// How long it waits for the agent; None leaves the 15 ms of the shipped file. A test
    /// of *what* is answered should not fail because a busy machine took 16 ms.
    pub timeout: Option<Duration>,
    /// Lines of the shipped files, by how they begin, and what is to stand in their place:
    /// `("filter spoe", "")` for a HAProxy that asks nobody.
    pub changes: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// One agent, and the shipped timeout.
    pub fn new(agent: SocketAddr, web: SocketAddr) -> Self {
        Self {
            agent,
            second_agent: None,
            third_agent: None,
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
    launch: Launch,
    http: SocketAddr,
    stats: SocketAddr,
}

/// How it is started, the first time and at a reload.
#[derive(Debug)]
struct Launch {
    haproxy: Haproxy,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// Where files of its own are: a configuration that is not the shipped one, its socket.
    dir: TempDir,
}

impl Server {
    /// Starts it on free ports and waits until it takes connections. No request is sent, as
    /// it would count against the limit.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub async fn start(haproxy: &Haproxy, setup: &Setup) -> Result<Self> {
        let shipped = workspace_root().join(SHIPPED);
        let dir = TempDir::with_prefix("haproxy-")?;
        let config = if setup.changes.is_empty() {
            shipped
        } else {
            changed_copy(&shipped, &setup.changes, dir.path())?
        };
        Self::launch(haproxy, config, environment(setup), dir).await
    }

    /// [`Server::start`] with files of the caller's own, by name and text; the first is the
    /// configuration. In it `"$HTTP_BIND"` and `"$STATS_BIND"` are the addresses to bind to,
    /// the latter with `stats uri /`, and `"$RUNTIME_SOCKET"` the path for a `stats socket`.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub async fn start_with(haproxy: &Haproxy, files: &[(&str, &str)]) -> Result<Self> {
        let dir = TempDir::with_prefix("haproxy-")?;
        for (name, text) in files {
            fs::write(dir.path().join(name), text)?;
        }
        let (config, _) = files.first().context("HAProxy needs a configuration")?;
        Self::launch(haproxy, dir.path().join(config), Vec::new(), dir).await
    }

    async fn launch(
        haproxy: &Haproxy,
        config: PathBuf,
        mut environment: Vec<(&'static str, String)>,
        dir: TempDir,
    ) -> Result<Self> {
        let http = port::free_addr()?;
        let stats = port::free_addr()?;
        environment.push(("HTTP_BIND", http.to_string()));
        environment.push(("STATS_BIND", stats.to_string()));
        let launch = Launch {
            haproxy: haproxy.clone(),
            config,
            environment,
            dir,
        };
        let server = Self {
            process: launch.spawn(&[])?,
            launch,
            http,
            stats,
        };
        server
            .process
            .ready(PATIENCE, async || {
                TcpStream::connect(stats).await.is_ok() && TcpStream::connect(http).await.is_ok()
            })
            .await?;
        Ok(server)
    }

    /// Starts a second process in this one's place: it takes over the listening sockets,
    /// so that no connection is refused, and tells the old process to finish. Returns the
    /// old one, which ends when its last connection does.
    ///
    /// The configuration must have `stats socket "$RUNTIME_SOCKET" expose-fd listeners`.
    ///
    /// # Errors
    /// When the new process cannot be started. ([`Process::exited`] of the old one shows
    /// whether the new one got so far as to stop it.)
    pub fn reload(&mut self) -> Result<Process> {
        let old = self.process.id().to_string();
        let socket = self.launch.socket();
        let new = self.launch.spawn(&["-x", &socket, "-sf", &old])?;
        Ok(mem::replace(&mut self.process, new))
    }

    /// The web service through this HAProxy: `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Its statistics page.
    pub fn stats_url(&self) -> String {
        format!("http://{}/", self.stats)
    }

    /// What HAProxy thinks of a server, such as `UP` or `DOWN`: `spoe-agents` holds `agent1`,
    /// `agent2` and `agent3`, `web` holds `web`.
    ///
    /// # Errors
    /// When the statistics cannot be had or have no such server.
    pub async fn status_of(&self, backend: &str, server: &str) -> Result<String> {
        self.statistic(backend, server, "status").await
    }

    /// What the last health check of a server came to, such as `L7OK` or `L4CON`; `INI`
    /// before there was one, when HAProxy calls the server UP already.
    ///
    /// # Errors
    /// As [`Server::status_of`].
    pub async fn last_check_of(&self, backend: &str, server: &str) -> Result<String> {
        let status = self.statistic(backend, server, "check_status").await?;
        // While the next one runs.
        Ok(status.trim_start_matches("* ").to_owned())
    }

    async fn statistic(&self, backend: &str, server: &str, name: &str) -> Result<String> {
        let answer = Client::new().get(self.stats_url() + ";csv").send().await?;
        let csv = String::from_utf8_lossy(&answer.body).into_owned();
        let mut lines = csv.lines().map(|line| line.split(','));
        let mut head = lines.next().context("no statistics")?;
        let column = head
            .position(|column| column == name)
            .with_context(|| format!("no statistic called {name}"))?;
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

impl Launch {
    fn spawn(&self, arguments: &[&str]) -> Result<Process> {
        let name = format!("haproxy {}", self.haproxy.version());
        Process::spawn(&name, self.haproxy.program(), |command| {
            // In the foreground, and -dR: a port that another HAProxy took is an error, not
            // shared with it.
            command.args(["-db", "-dR", "-f"]).arg(&self.config);
            command.args(arguments);
            set_environment(command, &self.environment);
            command.env("RUNTIME_SOCKET", self.socket());
        })
    }

    fn socket(&self) -> String {
        self.dir.path().join("socket").display().to_string()
    }
}

/// A copy of the shipped files, with the lines that begin in one of these ways replaced.
fn changed_copy(shipped: &Path, changes: &[(&str, &str)], dir: &Path) -> Result<PathBuf> {
    // The second is looked for beside the first.
    let names = ["haproxy.cfg", "spoe-rate-limit.conf"];
    let texts = names.map(|name| fs::read_to_string(shipped.with_file_name(name)));
    let mut missing: Vec<_> = changes.iter().collect();
    for (name, text) in names.into_iter().zip(texts) {
        let text = text?;
        let mut lines: Vec<&str> = text.lines().collect();
        missing.retain(|(beginning, replacement)| {
            let found = lines
                .iter_mut()
                .find(|line| line.trim_start().starts_with(beginning));
            found.map(|line| *line = replacement).is_none()
        });
        fs::write(dir.join(name), lines.join("\n") + "\n")?;
    }
    if let Some((beginning, _)) = missing.first() {
        bail!("the shipped files have no line {beginning:?}");
    }
    Ok(dir.join("haproxy.cfg"))
}

/// What the shipped files are told by way of the environment.
fn environment(setup: &Setup) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("SPOE_AGENT", setup.agent.to_string()),
        ("WEB_BACKEND", setup.web.to_string()),
    ];
    if let Some(agent) = setup.second_agent {
        environment.push(("SPOE_AGENT_2", agent.to_string()));
    }
    if let Some(agent) = setup.third_agent {
        environment.push(("SPOE_AGENT_3", agent.to_string()));
    }
    if let Some(timeout) = setup.timeout {
        environment.push(("SPOE_TIMEOUT", format!("{}ms", timeout.as_millis())));
    }
    environment
}

fn set_environment(command: &mut Command, environment: &[(&'static str, String)]) {
    // The shipped files' optional settings, should whoever runs the tests have them set.
    for name in [
        "SPOE_AGENT_2",
        "SPOE_AGENT_3",
        "SPOE_AGENT_REPLICAS",
        "SPOE_TIMEOUT",
        "THREADS",
        "MAXCONN",
    ] {
        command.env_remove(name);
    }
    for (name, value) in environment {
        command.env(name, value);
    }
}
