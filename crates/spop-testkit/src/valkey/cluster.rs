//! A Valkey cluster: nodes that know each other.

use anyhow::{Context as _, Result, bail};

use super::Server;
use crate::link::Link;
use crate::port;
use crate::tools::Valkey;

/// A node that is silent for so long is taken for failed, in milliseconds.
const NODE_TIMEOUT_MS: u32 = 1000;
/// Where links listen, each on the port of its node.
const LINK_HOST: [u8; 4] = [127, 0, 1, 1];

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Nodes with slots: at least 3, which is Valkey's own minimum.
    pub primaries: usize,
    /// Further nodes for each of them.
    pub replicas: usize,
    /// Whether clients reach each node only through a [`Link`], whose address is the one
    /// that the node tells them. Nodes reach each other directly. Needs Valkey 8.1.
    pub links: bool,
    /// Whether each node has a [`Clock`](super::Clock) of its own.
    pub clocks: bool,
    /// Which Valkey. None: [`Valkey::find`].
    pub valkey: Option<Valkey>,
}

impl Setup {
    /// So many nodes, and nothing else.
    pub fn new(primaries: usize, replicas: usize) -> Self {
        Self {
            primaries,
            replicas,
            links: false,
            clocks: false,
            valkey: None,
        }
    }
}

/// A cluster whose slots are spread evenly over its primaries. It keeps serving the slots it
/// has when a primary is gone (`cluster-require-full-coverage no`).
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    /// One for each node, or none at all.
    links: Vec<Link>,
}

impl Cluster {
    /// Starts `primaries` nodes without replicas, and waits until every node knows every
    /// other.
    ///
    /// # Errors
    /// When Valkey cannot be had or the cluster does not form.
    pub async fn start(primaries: usize) -> Result<Self> {
        Self::start_with(Setup::new(primaries, 0)).await
    }

    /// [`Cluster::start`], as `setup` says.
    ///
    /// # Errors
    /// When Valkey cannot be had or the cluster does not form.
    pub async fn start_with(setup: Setup) -> Result<Self> {
        let valkey = match setup.valkey {
            Some(valkey) => valkey,
            None => Valkey::find()?,
        };
        let mut cluster = Self {
            nodes: Vec::new(),
            links: Vec::new(),
        };
        for _ in 0..setup.primaries * (1 + setup.replicas) {
            let port = port::free()?;
            let mut arguments = node_arguments()?;
            if setup.links {
                let (outside, inside) = ((LINK_HOST, port), ([127, 0, 0, 1], port));
                let link = Link::start(outside.into(), inside.into()).await?;
                let host = link.addr().ip().to_string();
                arguments.extend(["--cluster-announce-client-ipv4".to_owned(), host]);
                cluster.links.push(link);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let node = Server::launch(&valkey, port, &arguments, setup.clocks)?;
            cluster.nodes.push(node);
        }
        for node in &cluster.nodes {
            node.answers().await?;
        }
        cluster.form(setup.replicas).await?;
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

    /// Every node's URL, through its link if it has one, separated by commas, as
    /// `VALKEY_NODES` takes them.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = if self.links.is_empty() {
            self.nodes.iter().map(Server::url).collect()
        } else {
            let links = self.links.iter();
            links
                .map(|link| format!("redis://{}", link.addr()))
                .collect()
        };
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

    /// The link in front of node `i`.
    ///
    /// # Panics
    /// When there is no such node, or the cluster has no links.
    #[expect(
        clippy::indexing_slicing,
        reason = "for tests, which know what they started"
    )]
    pub fn link(&self, i: usize) -> &Link {
        &self.links[i]
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

fn node_arguments() -> Result<Vec<String>> {
    // Set, since the default is the port + 10000, which may be taken.
    let bus_port = port::free()?.to_string();
    let node_timeout = NODE_TIMEOUT_MS.to_string();
    let arguments = [
        ("--cluster-enabled", "yes"),
        ("--cluster-port", &bus_port),
        ("--cluster-node-timeout", &node_timeout),
        ("--cluster-require-full-coverage", "no"),
        ("--repl-diskless-sync-delay", "0"),
    ];
    let words = arguments.iter().flat_map(|&(name, value)| [name, value]);
    Ok(words.map(String::from).collect())
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
