//! Who serves what: the map from hash slots to primaries, and the task that keeps it true.
//!
//! The map is read on every check and replaced whole. Only the task replaces it: at the
//! start, every few seconds, and when a lane reports that it looks old. It never stops
//! looking, and a map that was true once stays until there is a newer one.

use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use redis::cluster_routing::Slot;
use redis::{ConnectionInfo, RedisError};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::backoff::{Backoff, jittered, random};
use super::config::Config;
use super::error::StoreError;
use super::job::Job;
use super::layout::{Address, Assignment, Layout, SLOTS};
use super::node::Node;
use super::primary::reason;

/// The map is renewed at least this often.
const PERIOD: Duration = Duration::from_secs(10);
/// And no two renewals are closer than this, however many lanes ask for one.
const GAP: Duration = Duration::from_millis(50);

/// The primaries in use, and which of them serves each slot.
#[derive(Debug, Default)]
struct Routes {
    nodes: Vec<Arc<Node>>,
    /// Where each slot is in `nodes`. redis-rs keeps a slot's number to itself, so the slot
    /// is the key.
    owners: HashMap<Slot, usize>,
    /// What `owners` was made from.
    layout: Option<Layout>,
}

/// The current [`Routes`], and how to get newer ones.
#[derive(Debug)]
pub(super) struct Topology {
    routes: ArcSwap<Routes>,
    /// Wakes the task, with a node that a redirection named.
    wake: mpsc::Sender<Option<Address>>,
    seeds: Vec<ConnectionInfo>,
    config: Config,
}

impl Topology {
    /// Starts looking, from these nodes. It ends when the last `Arc` is dropped.
    pub(super) fn start(seeds: Vec<ConnectionInfo>, config: Config) -> Arc<Self> {
        let (wake, woken) = mpsc::channel(1);
        let topology = Arc::new(Self {
            routes: ArcSwap::default(),
            wake,
            seeds,
            config,
        });
        tokio::spawn(keep_true(Arc::downgrade(&topology), woken));
        topology
    }

    /// Hands a job to the primary of its slot, or answers it.
    pub(super) fn route(&self, job: Job) {
        let routes = self.routes.load();
        let owner = routes.owners.get(&job.slot);
        match owner.and_then(|&owner| routes.nodes.get(owner)) {
            Some(node) => node.enqueue(job),
            None if routes.nodes.is_empty() => job.answer(Err(StoreError::NoTopology)),
            None => job.answer(Err(StoreError::NoPrimary)),
        }
    }

    /// Hands a job to the node that `sender` named instead of itself.
    pub(super) fn redirect(&self, job: Job, target: Address, sender: &Arc<str>) {
        let asking = job.asking;
        let node = self.routes.load().named(&target.to_string()).cloned();
        match &node {
            Some(node) => node.enqueue(job),
            None => job.answer(Err(StoreError::Moving {
                node: sender.clone(),
            })),
        }
        // A slot that is only being moved is where the map says until it has been.
        if node.is_none() || !asking {
            self.refresh(Some(target));
        }
    }

    /// Asks for a newer map, and for a connection to the node that a redirection named. If
    /// one is asked for already, that will do.
    pub(super) fn refresh(&self, named: Option<Address>) {
        let _ = self.wake.try_send(named);
    }

    /// Whom to ask for the map, best first: the node that a redirection named, then the
    /// known ones from a random one on, then those it was started with.
    fn candidates(&self, named: Option<&Address>) -> Vec<ConnectionInfo> {
        let routes = self.routes.load();
        let mut known: Vec<_> = routes.nodes.iter().map(|node| node.info.clone()).collect();
        if !known.is_empty() {
            let first = random() as usize % known.len();
            known.rotate_left(first);
        }
        known.extend(self.seeds.iter().cloned());
        let named = named
            .zip(known.first())
            .map(|(named, pattern)| named.connection_info(pattern));
        let mut candidates: Vec<ConnectionInfo> = Vec::new();
        for node in named.into_iter().chain(known) {
            if !candidates.iter().any(|other| other.addr() == node.addr()) {
                candidates.push(node);
            }
        }
        candidates
    }

    /// Whether what this node says may be used. A single server must be the one that was
    /// configured, and no other beside it: agents that each took another one of several
    /// would each allow the whole limit.
    fn accepts(&self, asked: &ConnectionInfo, layout: &Layout) -> bool {
        match (layout, self.seeds.as_slice()) {
            (Layout::Cluster(_), _) => true,
            (Layout::Standalone, [only]) => only.addr() == asked.addr(),
            (Layout::Standalone, _) => false,
        }
    }

    /// Puts a new map in place. Nodes that stay keep their connections; those that are gone
    /// answer what they have and close.
    fn install(
        self: &Arc<Self>,
        asked: &ConnectionInfo,
        layout: Layout,
        named: Option<&Address>,
    ) -> Result<(), RedisError> {
        let old = self.routes.load();
        if named.is_none() && old.layout.as_ref() == Some(&layout) {
            return Ok(());
        }
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        let mut node_at = |info: ConnectionInfo| -> Result<usize, RedisError> {
            let name = info.addr().to_string();
            if let Some(index) = nodes.iter().position(|node| node.name() == name) {
                return Ok(index);
            }
            nodes.push(match old.named(&name) {
                Some(node) => node.clone(),
                None => Arc::new(Node::start(info, &self.config, Arc::downgrade(self))?),
            });
            Ok(nodes.len().saturating_sub(1))
        };
        let mut owners = HashMap::with_capacity(usize::from(SLOTS));
        let mut own = |slots: RangeInclusive<u16>, index: usize| {
            owners.extend(slots.filter_map(Slot::new).map(|slot| (slot, index)));
        };
        match &layout {
            Layout::Standalone => own(0..=SLOTS - 1, node_at(asked.clone())?),
            Layout::Cluster(assignments) => {
                for Assignment { slots, primary } in assignments {
                    own(slots.clone(), node_at(primary.connection_info(asked))?);
                }
            }
        }
        if let Some(named) = named {
            // It may have no slots yet, only some that are moving to it.
            node_at(named.connection_info(asked))?;
        }
        let new = Routes {
            nodes,
            owners,
            layout: Some(layout),
        };
        new.tell_apart_from(&old);
        self.routes.store(Arc::new(new));
        Ok(())
    }
}

impl Routes {
    fn named(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| node.name()).collect();
        names.sort_unstable();
        names
    }

    /// Logs which nodes are in use now, if that changed.
    fn tell_apart_from(&self, old: &Self) {
        let (names, slots) = (self.names(), self.owners.len());
        if names == old.names() {
            debug!(slots, "the slots of the Valkey cluster were read again");
        } else if self.layout == Some(Layout::Standalone) {
            info!(node = %names.join(", "), "using one Valkey server");
        } else {
            info!(primaries = %names.join(", "), slots, "using a Valkey cluster");
        }
    }
}

/// The task: renews the map until the topology is dropped.
async fn keep_true(topology: Weak<Topology>, mut woken: mpsc::Receiver<Option<Address>>) {
    let mut named = None;
    let mut backoff = Backoff::new();
    let mut failing = false;
    loop {
        match renew(&topology, named.as_ref()).await {
            None => return,
            Some(Ok(())) => {
                failing = false;
                backoff = Backoff::new();
                sleep(GAP).await;
                named = tokio::select! {
                    () = sleep(jittered(PERIOD)) => None,
                    wake = woken.recv() => match wake {
                        Some(named) => named,
                        None => return,
                    },
                };
            }
            Some(Err(reason)) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%reason, "no Valkey node tells the hash slots; still asking");
                }
                named = None;
                sleep(backoff.pause()).await;
            }
        }
    }
}

/// Asks one candidate after the other until one knows. `None`: the topology is gone.
async fn renew(topology: &Weak<Topology>, named: Option<&Address>) -> Option<Result<(), String>> {
    // Nothing holds the topology while the network is waited for.
    let candidates = topology.upgrade()?.candidates(named);
    let mut failure = String::new();
    for candidate in candidates {
        failure = match Layout::ask(&candidate).await {
            Ok(layout) => {
                let topology = topology.upgrade()?;
                if topology.accepts(&candidate, &layout) {
                    let installed = topology.install(&candidate, layout, named);
                    return Some(installed.map_err(|error| reason(&error)));
                }
                format!(
                    "{} is part of no cluster: give one server, or nodes of one cluster",
                    candidate.addr()
                )
            }
            Err(reason) => format!("{}: {reason}", candidate.addr()),
        };
    }
    Some(Err(failure))
}

#[cfg(test)]
mod tests {
    use super::super::job::job;
    use super::*;

    fn node(url: &str) -> ConnectionInfo {
        url.parse().unwrap()
    }

    fn topology(urls: &[&str]) -> Arc<Topology> {
        let (wake, _) = mpsc::channel(1);
        Arc::new(Topology {
            routes: ArcSwap::default(),
            wake,
            seeds: urls.iter().map(|url| node(url)).collect(),
            config: Config::default(),
        })
    }

    fn names(candidates: &[ConnectionInfo]) -> Vec<String> {
        let names = candidates.iter().map(|node| node.addr().to_string());
        names.collect()
    }

    fn half(port: u16) -> Layout {
        Layout::Cluster(vec![Assignment {
            slots: 0..=8191,
            primary: Address::new("127.0.0.1", port),
        }])
    }

    #[test]
    fn before_there_is_a_map_checks_fail_at_once() {
        let (job, mut answer) = job("192.0.2.7");
        topology(&["redis://127.0.0.1:1"]).route(job);
        assert_eq!(answer.try_recv(), Ok(Err(StoreError::NoTopology)));
    }

    #[tokio::test]
    async fn a_slot_that_nobody_serves_is_an_error_of_its_own() {
        let seed = node("redis://127.0.0.1:1");
        let topology = topology(&["redis://127.0.0.1:1"]);
        topology.install(&seed, half(2), None).unwrap();
        let routes = topology.routes.load();
        assert_eq!(routes.owners.len(), 8192);
        assert!(routes.owners.contains_key(&Slot::new(8191).unwrap()));

        let (mut job, mut answer) = job("192.0.2.7");
        job.slot = Slot::new(8192).unwrap();
        topology.route(job);
        assert_eq!(answer.try_recv(), Ok(Err(StoreError::NoPrimary)));
    }

    #[tokio::test]
    async fn nodes_that_stay_are_kept_and_those_that_left_are_dropped() {
        let seed = node("redis://:secret@127.0.0.1:1");
        let topology = topology(&["redis://:secret@127.0.0.1:1"]);
        let named = Address::new("127.0.0.1", 3);
        topology.install(&seed, half(2), Some(&named)).unwrap();
        let before = topology.routes.load_full();
        assert_eq!(before.names(), ["127.0.0.1:2", "127.0.0.1:3"]);
        let settings = before.nodes[1].info.redis_settings();
        assert_eq!(settings.password(), Some("secret"));

        topology.install(&seed, half(3), None).unwrap();
        let after = topology.routes.load_full();
        assert_eq!(after.names(), ["127.0.0.1:3"]);
        assert!(Arc::ptr_eq(&before.nodes[1], &after.nodes[0]));
        // The same again changes nothing.
        topology.install(&seed, half(3), None).unwrap();
        assert!(Arc::ptr_eq(&after, &topology.routes.load()));
    }

    #[tokio::test]
    async fn whoever_was_named_is_asked_first_and_nobody_twice() {
        let topology = topology(&["redis://127.0.0.1:1", "redis://127.0.0.1:2"]);
        let seeds = ["127.0.0.1:1", "127.0.0.1:2"];
        assert_eq!(names(&topology.candidates(None)), seeds);
        topology
            .install(&node("redis://127.0.0.1:1"), half(2), None)
            .unwrap();
        let named = Address::new("127.0.0.1", 3);
        assert_eq!(
            names(&topology.candidates(Some(&named))),
            ["127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1"]
        );
    }

    #[test]
    fn only_the_one_server_that_was_given_may_stand_alone() {
        let one = topology(&["redis://127.0.0.1:1"]);
        let two = topology(&["redis://127.0.0.1:1", "redis://127.0.0.1:2"]);
        let (first, second) = (node("redis://127.0.0.1:1"), node("redis://127.0.0.1:2"));
        assert!(one.accepts(&first, &Layout::Standalone));
        assert!(!one.accepts(&second, &Layout::Standalone));
        assert!(!two.accepts(&first, &Layout::Standalone));
        assert!(two.accepts(&second, &half(2)));
    }
}
