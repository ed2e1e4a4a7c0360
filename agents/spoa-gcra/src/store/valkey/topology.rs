//! Who serves what: the map from hash slots to primaries. It is read on every check and
//! replaced whole, by the task in `renewal`.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use redis::aio::MultiplexedConnection;
use redis::cluster_routing::Slot;
use redis::{ConnectionInfo, RedisError};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::backoff::random;
use super::config::Config;
use super::error::StoreError;
use super::job::Job;
use super::layout::{Address, Assignment, Layout, SLOTS};
use super::node::Node;
use super::primary::PrimaryState;
use super::renewal;

/// No index of a node: there cannot be more of them than slots.
const NOBODY: u16 = u16::MAX;

/// redis-rs computes slots, but keeps their numbers to itself. 160 KiB.
static NUMBERS: LazyLock<HashMap<Slot, u16>> = LazyLock::new(|| {
    (0..SLOTS)
        .filter_map(|n| Some((Slot::new(n)?, n)))
        .collect()
});

/// The primaries in use, and which of them serves each slot.
#[derive(Debug, Default)]
struct Routes {
    nodes: Vec<Arc<Node>>,
    /// By slot number, where its primary is in `nodes`; [`NOBODY`] if there is none. Empty
    /// at first, then 32 KiB.
    owners: Box<[u16]>,
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
    /// How often nodes told what they are part of.
    pub(super) renewals: AtomicU64,
}

/// A node to ask what it is part of, and the connection that there is to it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) info: ConnectionInfo,
    pub(super) connection: Option<MultiplexedConnection>,
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
            renewals: AtomicU64::new(0),
        });
        // Not at the first check's expense.
        LazyLock::force(&NUMBERS);
        tokio::spawn(renewal::keep_true(Arc::downgrade(&topology), woken));
        topology
    }

    /// Hands a job to the primary of its slot, or answers it.
    pub(super) fn route(&self, job: Job) {
        let routes = self.routes.load();
        match routes.owner(job.slot) {
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

    /// The nodes in use, as they are now.
    pub(super) fn primaries(&self) -> Vec<PrimaryState> {
        let routes = self.routes.load();
        routes.nodes.iter().map(|node| node.state()).collect()
    }

    /// Whether the map is complete and every node in it is well. What a single server is
    /// part of does not change when it is not.
    pub(super) fn is_settled(&self) -> bool {
        let routes = self.routes.load();
        let complete = !routes.owners.contains(&NOBODY);
        let well = |node: &Arc<Node>| !node.primary.is_refusing();
        routes.layout == Some(Layout::Standalone) || complete && routes.nodes.iter().all(well)
    }

    /// Whom to ask for the map, best first: the node that a redirection named, those that
    /// there is a connection to, from a random one on, then those known otherwise. Whoever
    /// does not answer checks is not asked: its lanes find out when it is back.
    pub(super) fn candidates(&self, named: Option<&Address>) -> Vec<Candidate> {
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
        let first = named.as_ref().map(|named| named.addr().clone());
        let mut candidates: Vec<Candidate> = Vec::new();
        for info in named.into_iter().chain(known) {
            let node = routes.named(&info.addr().to_string());
            let seen = |candidate: &Candidate| candidate.info.addr() == info.addr();
            if candidates.iter().any(seen) || node.is_some_and(|node| node.primary.is_refusing()) {
                continue;
            }
            let connection = node.and_then(|node| node.primary.connection());
            candidates.push(Candidate { info, connection });
        }
        candidates.sort_by_key(|candidate| {
            let is_named = first.as_ref() == Some(candidate.info.addr());
            (!is_named, candidate.connection.is_none())
        });
        candidates
    }

    /// Whether what this node says may be used. A single server must be the one that was
    /// configured, and no other beside it: agents that each took another one of several
    /// would each allow the whole limit.
    pub(super) fn accepts(&self, asked: &ConnectionInfo, layout: &Layout) -> bool {
        match (layout, self.seeds.as_slice()) {
            (Layout::Cluster(_), _) => true,
            (Layout::Standalone, [only]) => only.addr() == asked.addr(),
            (Layout::Standalone, _) => false,
        }
    }

    /// Whether this map leaves each slot with the primary in use that answers. One of the same
    /// standing that does not is hearsay: a node that came back at another address does not
    /// know its own, and tells the old one until it is introduced to the others again.
    pub(super) fn keeps_what_works(&self, layout: &Layout) -> bool {
        let routes = self.routes.load();
        let Layout::Cluster(assignments) = layout else {
            return true;
        };
        if routes.layout.as_ref() == Some(layout) {
            return true;
        }
        // `None`: it does not answer, so its slots may go to whoever is said to have them.
        let working =
            |node: &Arc<Node>| node.primary.is_answering().then(|| node.name().to_owned());
        let working: Vec<Option<String>> = routes.nodes.iter().map(working).collect();
        assignments.iter().all(|Assignment { slots, primary }| {
            let name = Some(primary.to_string());
            let slots = usize::from(*slots.start())..=usize::from(*slots.end());
            let mut owners = routes.owners.get(slots).unwrap_or_default().iter();
            owners.all(|&owner| match working.get(usize::from(owner)) {
                None | Some(None) => true,
                Some(owner) => *owner == name,
            })
        })
    }

    /// Puts a new map in place. Nodes that stay keep their connections; those that are gone
    /// answer what they have and close.
    pub(super) fn install(
        self: &Arc<Self>,
        asked: &ConnectionInfo,
        layout: Layout,
        named: Option<&Address>,
    ) -> Result<(), RedisError> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        let old = self.routes.load();
        let is_known = |named: &Address| old.named(&named.to_string()).is_some();
        if old.layout.as_ref() == Some(&layout) && named.is_none_or(is_known) && !old.is_stale() {
            return Ok(());
        }
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        let mut node_at = |info: ConnectionInfo| -> Result<u16, RedisError> {
            let name = info.addr().to_string();
            let index = match nodes.iter().position(|node| node.name() == name) {
                Some(index) => index,
                None => {
                    nodes.push(match old.named(&name) {
                        Some(node) => node.clone(),
                        None => Arc::new(Node::start(info, &self.config, Arc::downgrade(self))?),
                    });
                    nodes.len().saturating_sub(1)
                }
            };
            Ok(u16::try_from(index).unwrap_or(NOBODY))
        };
        let mut owners = vec![NOBODY; usize::from(SLOTS)];
        let mut own = |slots: RangeInclusive<u16>, index: u16| {
            let (first, last) = (usize::from(*slots.start()), usize::from(*slots.end()));
            if let Some(owned) = owners.get_mut(first..=last) {
                owned.fill(index);
            }
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
            owners: owners.into(),
            layout: Some(layout),
        };
        new.tell_apart_from(&old);
        self.routes.store(Arc::new(new));
        Ok(())
    }
}

impl Routes {
    fn owner(&self, slot: Slot) -> Option<&Arc<Node>> {
        let number = *NUMBERS.get(&slot)?;
        let owner = *self.owners.get(usize::from(number))?;
        self.nodes.get(usize::from(owner))
    }

    fn named(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// Whether there is a node that serves nothing and does not answer: a redirection named it
    /// for slots that did not come to it in the end.
    fn is_stale(&self) -> bool {
        let idle = |index: usize| !self.owners.iter().any(|&owner| usize::from(owner) == index);
        let mut nodes = self.nodes.iter().enumerate();
        nodes.any(|(index, node)| node.primary.is_refusing() && idle(index))
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| node.name()).collect();
        names.sort_unstable();
        names
    }

    /// Logs which nodes are in use now, if that changed: as loud as what was said of one that
    /// did not answer, if that is out of use by now.
    fn tell_apart_from(&self, old: &Self) {
        let names = self.names();
        let slots = self.owners.iter().filter(|&&owner| owner != NOBODY).count();
        let lost =
            |node: &&Arc<Node>| node.primary.is_refusing() && self.named(node.name()).is_none();
        for node in old.nodes.iter().filter(lost) {
            warn!(node = %node.name(), "a primary that did not answer is out of use; Valkey names others");
        }
        if names == old.names() {
            debug!(slots, "the slots of the Valkey cluster were read again");
        } else if self.layout == Some(Layout::Standalone) {
            info!(node = %names.join(", "), "using one Valkey server");
        } else {
            info!(primaries = %names.join(", "), slots, "using a Valkey cluster");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::BreakerState;
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
            renewals: AtomicU64::new(0),
        })
    }

    fn names(candidates: &[Candidate]) -> Vec<String> {
        let names = candidates.iter().map(|node| node.info.addr().to_string());
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
        assert!(routes.owner(Slot::new(8191).unwrap()).is_some());
        assert!(!topology.is_settled());

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
    async fn who_was_named_serves_nothing_and_is_away_is_given_up() {
        let seed = node("redis://127.0.0.1:1");
        let topology = topology(&["redis://127.0.0.1:1"]);
        let whole = Layout::Cluster(vec![Assignment {
            slots: 0..=16383,
            primary: Address::new("127.0.0.1", 2),
        }]);
        let named = Address::new("127.0.0.1", 3);
        topology
            .install(&seed, whole.clone(), Some(&named))
            .unwrap();
        topology.install(&seed, whole.clone(), None).unwrap();
        let routes = topology.routes.load_full();
        assert_eq!(routes.names(), ["127.0.0.1:2", "127.0.0.1:3"]);

        routes.named("127.0.0.1:3").unwrap().primary.silent();
        topology.install(&seed, whole, None).unwrap();
        assert_eq!(topology.routes.load().names(), ["127.0.0.1:2"]);
        assert!(topology.is_settled());
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

    #[tokio::test]
    async fn who_does_not_answer_checks_is_asked_nothing_else() {
        let topology = topology(&["redis://127.0.0.1:1", "redis://127.0.0.1:2"]);
        let two = Layout::Cluster(vec![
            Assignment {
                slots: 0..=8191,
                primary: Address::new("127.0.0.1", 2),
            },
            Assignment {
                slots: 8192..=16383,
                primary: Address::new("127.0.0.1", 3),
            },
        ]);
        let seed = node("redis://127.0.0.1:1");
        topology.install(&seed, two, None).unwrap();
        assert!(topology.is_settled());
        assert_eq!(topology.candidates(None).len(), 3);

        let routes = topology.routes.load();
        routes.named("127.0.0.1:2").unwrap().primary.silent();
        assert!(!topology.is_settled());
        let named = Address::new("127.0.0.1", 2);
        for named in [None, Some(&named)] {
            let candidates = topology.candidates(named);
            assert_eq!(names(&candidates), ["127.0.0.1:3", "127.0.0.1:1"]);
        }
        let states = topology.primaries();
        let open = states
            .iter()
            .filter(|state| state.breaker == BreakerState::Open);
        assert_eq!(
            open.map(|state| &*state.node).collect::<Vec<_>>(),
            ["127.0.0.1:2"]
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
