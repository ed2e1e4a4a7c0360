//! Load straight on the agents, by `spop bench`: connections, NOTIFYs in flight, payload.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Plan;
use super::agent::{Agent, Kind};
use super::cpus::Cpus;
use crate::bench::notifies::{Asking, Shape, Turn};
use crate::bench::{Spread, median};

/// Connections, and NOTIFYs in flight on each: alone; as HAProxy up to 3.0 uses few
/// connections; as HAProxy from 3.1 on uses many; and both.
pub(super) const SHAPES: [Shape; 4] = [
    Shape::new(1, 1),
    Shape::new(8, 16),
    Shape::new(64, 1),
    Shape::new(64, 16),
];

/// What is in each NOTIFY.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Payload {
    /// The shipped SPOE file's message for a plain request: two arguments without a value, and
    /// an address. 53 bytes.
    Small,
    /// The same, and 2048 bytes of text that no agent reads.
    Large,
}

impl Payload {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];
    /// Bytes that nobody reads.
    pub(super) const UNREAD: usize = 2048;
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Small => "small",
            Self::Large => "2 KiB",
        })
    }
}

/// One way to ask.
pub(super) type Cell = (Payload, Shape);

/// The turns of each agent in each cell, in the order of the rounds.
#[derive(Default)]
pub(super) struct Direct(BTreeMap<(Cell, Kind), Vec<Turn>>);

impl Direct {
    /// All rounds; within one, cell after cell, and in each the agents one after the other.
    pub(super) async fn measure(
        load: &Path,
        agents: &[Agent],
        plan: &Plan,
        cpus: &Cpus,
    ) -> Result<Self> {
        let mut direct = Self::default();
        for round in 1..=plan.rounds {
            for (payload, shape) in cells() {
                eprintln!("round {round} of {}: {shape}, {payload}", plan.rounds);
                for agent in agents {
                    let turn = turn(load, agent, (payload, shape), plan, cpus).await?;
                    let key = ((payload, shape), agent.kind);
                    direct.0.entry(key).or_default().push(turn);
                }
            }
        }
        Ok(direct)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Something about one agent in one cell, if it was there.
    pub(super) fn spread(
        &self,
        cell: Cell,
        agent: Kind,
        value: impl Fn(&Turn) -> f64,
    ) -> Option<Spread> {
        let turns = self.0.get(&(cell, agent))?;
        Some(median(turns.iter().map(value).collect()))
    }

    /// CPU time as a multiple of the ceiling's, each round by itself.
    pub(super) fn to_ceiling(&self, cell: Cell, agent: Kind) -> Option<Spread> {
        let (turns, ceiling) = (self.cpu(cell, agent)?, self.cpu(cell, Kind::Ceiling)?);
        let ratios = turns.zip(ceiling).map(|(agent, ceiling)| agent / ceiling);
        Some(median(ratios.collect()))
    }

    /// What the large payload costs an agent more than it costs the ceiling, in µs, each
    /// round by itself.
    pub(super) fn unread(&self, shape: Shape, agent: Kind) -> Option<Spread> {
        let more = |agent| {
            let small = self.cpu((Payload::Small, shape), agent)?;
            let large = self.cpu((Payload::Large, shape), agent)?;
            Some(large.zip(small).map(|(large, small)| large - small))
        };
        let pairs = more(agent)?.zip(more(Kind::Ceiling)?);
        Some(median(
            pairs.map(|(agent, ceiling)| agent - ceiling).collect(),
        ))
    }

    fn cpu(&self, cell: Cell, agent: Kind) -> Option<impl Iterator<Item = f64>> {
        let turns = self.0.get(&(cell, agent))?;
        Some(turns.iter().map(|turn| turn.cpu))
    }
}

/// Every payload in every shape.
pub(super) fn cells() -> impl Iterator<Item = Cell> {
    let payloads = Payload::ALL.into_iter();
    payloads.flat_map(|payload| SHAPES.into_iter().map(move |shape| (payload, shape)))
}

async fn turn(
    load: &Path,
    agent: &Agent,
    (payload, shape): Cell,
    plan: &Plan,
    cpus: &Cpus,
) -> Result<Turn> {
    let asking = Asking {
        program: load,
        agent: agent.addr,
        process: agent.process.id(),
        shape,
        warmup: plan.warmup,
        duration: plan.turn,
    };
    let mut further = vec!["--arg", "ip_fwd:null", "--arg", "ip_xff:null"];
    further.extend(["--arg", "ip_src=192.0.2.7"]);
    let unread = Payload::UNREAD.to_string();
    if payload == Payload::Large {
        further.extend(["--payload", &unread]);
    }
    Turn::measure(&asking, &further, |id| cpus.pin_load(id))
        .await
        .with_context(|| format!("{}, {shape}, {payload}", agent.kind.name()))
}
