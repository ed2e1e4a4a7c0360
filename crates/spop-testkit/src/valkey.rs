//! Runs a Valkey server, or a cluster of them, in memory on free loopback ports.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::port;
use crate::process::{Process, Signal};
use crate::tools::Valkey;

/// A node that is silent for so long is taken for failed, in milliseconds.
const NODE_TIMEOUT_MS: u32 = 1000;
/// A server answers within about 50 ms and a cluster forms within about 2.5 s; the rest is
/// for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server. Its data is gone when it ends.
#[derive(Debug)]
pub struct Server {
    valkey: Valkey,
    arguments: Vec<String>,
    process: Mutex<Process>,
    port: u16,
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
        let server = Self::launch(&Valkey::find()?, arguments)?;
        server.answers().await?;
        Ok(server)
    }

    fn launch(valkey: &Valkey, further: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("valkey-").tempdir()?;
        let port = port::free()?;
        let mut arguments = vec![
            "--bind".to_owned(),
            "127.0.0.1".to_owned(),
            "--port".to_owned(),
            port.to_string(),
            "--dir".to_owned(),
            dir.path().display().to_string(),
        ];
        // The empty word after --save means: no snapshots.
        arguments.extend(["--save", "", "--appendonly", "no"].map(String::from));
        arguments.extend(further.iter().copied().map(String::from));
        Ok(Self {
            process: Mutex::new(spawn(valkey, &arguments)?),
            valkey: valkey.clone(),
            arguments,
            port,
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
        self.kill();
        *self.process() = spawn(&self.valkey, &self.arguments)?;
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

    async fn answers(&self) -> Result<()> {
        self.until(async || {
            // With a password, the error reply is as good a sign of life.
            let reply = self.cli(&["ping"]).await.unwrap_or_default();
            reply == "PONG" || reply.starts_with("NOAUTH")
        })
        .await
        .context("valkey-server does not answer")
    }

    async fn until(&self, ready: impl AsyncFn() -> bool) -> Result<()> {
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

fn spawn(valkey: &Valkey, arguments: &[String]) -> Result<Process> {
    Process::spawn("valkey-server", &valkey.server, |command| {
        command.args(arguments);
    })
}

/// A cluster whose slots are spread evenly over its primaries. It keeps serving the slots it
/// has when a primary is gone (`cluster-require-full-coverage no`).
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts `primaries` nodes (at least 3, which is Valkey's own minimum) without replicas,
    /// and waits until every node knows every other.
    ///
    /// # Errors
    /// When Valkey cannot be had or the cluster does not form.
    pub async fn start(primaries: usize) -> Result<Self> {
        Self::with_replicas(primaries, 0).await
    }

    /// [`Cluster::start`] with `replicas` more nodes for each primary.
    ///
    /// # Errors
    /// When Valkey cannot be had or the cluster does not form.
    pub async fn with_replicas(primaries: usize, replicas: usize) -> Result<Self> {
        let valkey = Valkey::find()?;
        let mut nodes = Vec::new();
        for _ in 0..primaries * (1 + replicas) {
            // Set, since the default is the port + 10000, which may be taken.
            let bus_port = port::free()?.to_string();
            let node_timeout = NODE_TIMEOUT_MS.to_string();
            nodes.push(Server::launch(
                &valkey,
                &[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus_port,
                    "--cluster-node-timeout",
                    &node_timeout,
                    "--cluster-require-full-coverage",
                    "no",
                    "--repl-diskless-sync-delay",
                    "0",
                ],
            )?);
        }
        for node in &nodes {
            node.answers().await?;
        }
        let cluster = Self { nodes };
        cluster.form(replicas).await?;
        cluster.settled().await?;
        Ok(cluster)
    }

    async fn form(&self, replicas: usize) -> Result<()> {
        let first = self.nodes.first().context("a cluster needs nodes")?;
        let addresses: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        let replicas = replicas.to_string();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        first.cli(&arguments).await?;
        Ok(())
    }

    /// Waits until every node says that the cluster is well and counts no node as failed or
    /// still joining. (`valkey-cli --cluster create` returns before that.) Every node must
    /// be running.
    ///
    /// # Errors
    /// When that does not come true within a minute.
    pub async fn settled(&self) -> Result<()> {
        for node in &self.nodes {
            node.until(async || {
                let info = node.cli(&["cluster", "info"]).await.unwrap_or_default();
                let nodes = node.cli(&["cluster", "nodes"]).await.unwrap_or_default();
                info.contains("cluster_state:ok")
                    && nodes.lines().count() == self.nodes.len()
                    && !["fail", "handshake", "disconnected"]
                        .iter()
                        .any(|sign| nodes.contains(sign))
            })
            .await
            .context("the cluster does not settle")?;
        }
        Ok(())
    }

    /// Every node's URL, separated by commas, as `VALKEY_NODES` takes them.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Server::url).collect();
        urls.join(",")
    }

    /// Node `i`: the primaries come first, then the replicas.
    ///
    /// # Panics
    /// When there is no such node.
    #[expect(
        clippy::indexing_slicing,
        reason = "for tests, which know how many they started"
    )]
    pub fn node(&self, i: usize) -> &Server {
        &self.nodes[i]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The primary that serves `key` now.
    ///
    /// # Errors
    /// When the cluster does not say.
    pub async fn primary_of(&self, key: &str) -> Result<&Server> {
        let first = self.nodes.first().context("a cluster needs nodes")?;
        let slot: u16 = first.cli(&["cluster", "keyslot", key]).await?.parse()?;
        for node in &self.nodes {
            let Ok(nodes) = node.cli(&["cluster", "nodes"]).await else {
                continue;
            };
            let port = nodes.lines().find_map(|line| port_serving(line, slot));
            if let Some(port) = port {
                let found = self.nodes.iter().find(|node| node.port() == port);
                return found.context("another cluster's node");
            }
        }
        bail!("no node serves slot {slot} of {key}")
    }
}

/// The port of the node on this line of CLUSTER NODES, if it serves `slot`:
/// `ID HOST:PORT@BUS FLAGS PRIMARY SENT RECEIVED EPOCH STATE SLOTS…`
fn port_serving(line: &str, slot: u16) -> Option<u16> {
    let words: Vec<&str> = line.split(' ').collect();
    let serves = words.iter().skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u16| first <= slot)
            && last.parse().is_ok_and(|last: u16| slot <= last)
    });
    if !serves {
        return None;
    }
    let (_, port) = words.get(1)?.split_once('@')?.0.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_in_cluster_nodes() {
        let line =
            "e7d1 127.0.0.1:7101@17101,host myself,master - 0 0 2 connected 5461-10922 12000";
        assert_eq!(port_serving(line, 5461), Some(7101));
        assert_eq!(port_serving(line, 12000), Some(7101));
        assert_eq!(port_serving(line, 10923), None);
    }
}
