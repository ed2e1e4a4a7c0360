//! Checks in one write to Valkey, and writes on their way at once: what many of each bring.

use anyhow::Result;

use super::servers::Done;
use super::{Bench, servers, store};
use crate::bench::chart::{Column, Group, Panel, colours};
use crate::bench::{Spread, median};
use crate::markdown::Table;

/// How a lane writes. The last one is the default.
const LANES: [Lane; 6] = [
    Lane::new(1, 1),
    Lane::new(1, 8),
    Lane::new(1, 64),
    Lane::new(64, 1),
    Lane::new(64, 2),
    Lane::new(64, 8),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    /// Checks in one write at most.
    batch: u32,
    /// Writes on their way at most.
    pipelines: u32,
}

/// One turn of each lane, round after round.
pub(super) struct Batching {
    rounds: Vec<Vec<Turn>>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    lane: Lane,
    per_second: f64,
    /// Processor µs per decision.
    cpu: f64,
    server_cpu: f64,
}

impl Lane {
    const fn new(batch: u32, pipelines: u32) -> Self {
        Self { batch, pipelines }
    }
}

impl Batching {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let servers = [servers::start(bench).await?];
        let url = servers
            .iter()
            .map(|server| server.url())
            .collect::<String>();
        let mut rounds = Vec::new();
        for _ in bench.rounds("batching") {
            let mut turns = Vec::new();
            for lane in LANES {
                let (batch, pipelines) = (lane.batch.to_string(), lane.pipelines.to_string());
                let further = ["--batch", &batch, "--pipelines", &pipelines];
                let before = Done::by(&servers).await?;
                let turn = store::Turn::measure(bench, &url, &further).await?;
                let done = Done::by(&servers).await?.since(before);
                turns.push(Turn {
                    lane,
                    per_second: turn.per_second,
                    cpu: turn.cpu,
                    server_cpu: done.cpu / turn.asked,
                });
            }
            rounds.push(turns);
        }
        Ok(Self { rounds })
    }

    fn spread(&self, lane: Lane, value: impl Fn(&Turn) -> f64) -> Spread {
        let turns = self.rounds.iter().flatten();
        let turns = turns.filter(|turn| turn.lane == lane);
        median(turns.map(value).collect())
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new([
            "checks in a write",
            "writes on their way",
            "decisions/s",
            "client CPU µs/decision",
            "Valkey CPU µs/decision",
        ]);
        for lane in LANES {
            table.row([
                lane.batch.to_string(),
                lane.pipelines.to_string(),
                self.spread(lane, |turn| turn.per_second).to_string(),
                self.spread(lane, |turn| turn.cpu).to_string(),
                self.spread(lane, |turn| turn.server_cpu).to_string(),
            ]);
        }
        format!(
            "### Batching\n\n{}\n\nThe store's client by itself, with {} checks at once on one \
             connection; at most so many in a write, and so many writes unanswered. The last \
             line is the default.\n",
            table.markdown(),
            store::IN_FLIGHT,
        )
    }

    pub(super) fn panel(&self) -> Panel {
        let group = |lane: Lane| Group {
            text: format!("{}\nx {}", lane.batch, lane.pipelines),
            columns: vec![Column {
                height: self.spread(lane, |turn| turn.per_second / 1e3).middle,
                colour: if lane.batch > 1 {
                    colours::BLUE
                } else {
                    colours::ORANGE
                },
            }],
        };
        Panel {
            caption: "Thousand decisions/s: checks in a write x writes at once".to_owned(),
            groups: LANES.map(group).into(),
            mark: None,
        }
    }
}
