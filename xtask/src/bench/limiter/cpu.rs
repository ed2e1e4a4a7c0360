//! CPU time of the agent for each decision: through Valkey, with the state in memory, and of
//! the engine alone with a handler that decides nothing.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Bench, CLIENTS, MANY, agents, servers};
use crate::bench::bar::Bar;
use crate::bench::chart::{Column, Group, Panel, colours};
use crate::bench::engine::agent as engine;
use crate::bench::notifies::{Shape, Turn};
use crate::bench::{Spread, median};
use crate::markdown::Table;

/// µs that Valkey may cost the agent beyond what it costs without.
const BEYOND: f64 = 2.5;

/// As HAProxy from 3.1 on uses connections, as HAProxy up to 3.0 does, and many at once.
const SHAPES: [Shape; 3] = [Shape::new(64, 1), Shape::new(8, 16), MANY];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Engine,
    Memory,
    Valkey,
}

/// One turn of each in each shape, round after round.
pub(super) struct Cpu {
    rounds: Vec<Vec<(Shape, [Turn; 3])>>,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Engine, Self::Memory, Self::Valkey];

    const fn name(self) -> &'static str {
        match self {
            Self::Engine => "`minimal`, the engine alone",
            Self::Memory => "the agent, state in memory",
            Self::Valkey => "the agent, state in Valkey",
        }
    }
}

impl Cpu {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let server = servers::start(bench).await?;
        let minimal = engine::Agent::start(engine::Kind::Minimal, &bench.engine).await?;
        bench.pin_agent(minimal.process.id())?;
        let memory = agents::start(bench, &[]).await?;
        let valkey = agents::start(bench, &[("VALKEY_NODES", &server.url())]).await?;
        // In the order of `Kind::ALL`.
        let agents: [(SocketAddr, u32); 3] = [
            (minimal.addr, minimal.process.id()),
            (memory.addr(), memory.process().id()),
            (valkey.addr(), valkey.process().id()),
        ];
        let clients = format!("ip_src={CLIENTS}");
        // The arguments of the shipped SPOE file, for a plain request.
        let further = [
            ["--arg", "ip_fwd:null"],
            ["--arg", "ip_xff:null"],
            ["--random-ip", &clients],
        ];
        let mut rounds = Vec::new();
        for _ in bench.rounds("CPU") {
            let mut round = Vec::new();
            for shape in SHAPES {
                let mut turns = Vec::new();
                for (addr, process) in agents {
                    turns.push(
                        bench
                            .ask(addr, process, shape, further.as_flattened())
                            .await?,
                    );
                }
                if let Ok(turns) = turns.try_into() {
                    round.push((shape, turns));
                }
            }
            rounds.push(round);
        }
        Ok(Self { rounds })
    }

    fn values(&self, shape: Shape, value: impl Fn(&[Turn; 3]) -> f64) -> Spread {
        let cells = self.rounds.iter().flatten();
        let turns = cells.filter(|(other, _)| *other == shape);
        median(turns.map(|(_, turns)| value(turns)).collect())
    }

    fn cpu(&self, shape: Shape, kind: Kind) -> Spread {
        self.values(shape, |turns| of(turns, kind).cpu)
    }

    /// What one costs beyond another, each round by itself.
    fn beyond(&self, shape: Shape, kind: Kind, other: Kind) -> Spread {
        self.values(shape, |turns| of(turns, kind).cpu - of(turns, other).cpu)
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let what = "agent CPU per decision through Valkey, beyond that in memory";
        let limit = format!("≤ {BEYOND:.2} µs");
        let beyond = self.beyond(MANY, Kind::Valkey, Kind::Memory);
        vec![Bar::at_most(what, BEYOND, limit, beyond)]
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new([
            "connections x window",
            "agent",
            "kNOTIFY/s",
            "CPU µs/NOTIFY",
            "beyond the engine, µs",
            "beyond memory, µs",
            "p50 µs",
            "p99 µs",
        ]);
        for shape in SHAPES {
            for kind in Kind::ALL {
                let beyond = |other| match kind {
                    Kind::Engine => String::new(),
                    _ if kind == other => String::new(),
                    _ => self.beyond(shape, kind, other).to_string(),
                };
                let spread = |value: fn(&Turn) -> f64| {
                    self.values(shape, |turns| value(of(turns, kind)))
                        .to_string()
                };
                table.row([
                    shape.to_string(),
                    kind.name().to_owned(),
                    spread(|turn| turn.per_second / 1e3),
                    self.cpu(shape, kind).to_string(),
                    beyond(Kind::Engine),
                    beyond(Kind::Memory),
                    spread(|turn| turn.p50),
                    spread(|turn| turn.p99),
                ]);
            }
        }
        format!(
            "### CPU time of the agent\n\n{}\n\nA closed loop: each connection keeps so many \
             NOTIFYs in flight. `minimal` answers one variable, the agent eleven.\n",
            table.markdown()
        )
    }

    pub(super) fn panel(&self) -> Panel {
        let group = |(text, kind, colour)| Group {
            text,
            columns: vec![Column {
                height: self.cpu(MANY, kind).middle,
                colour,
            }],
        };
        Panel {
            caption: format!("CPU µs per decision, {MANY} in flight"),
            groups: vec![
                group(("engine\nalone".to_owned(), Kind::Engine, colours::GREY)),
                group(("state\nin memory".to_owned(), Kind::Memory, colours::SKY)),
                group(("state\nin Valkey".to_owned(), Kind::Valkey, colours::BLUE)),
            ],
            mark: None,
        }
    }
}

fn of(turns: &[Turn; 3], kind: Kind) -> &Turn {
    let [engine, memory, valkey] = turns;
    match kind {
        Kind::Engine => engine,
        Kind::Memory => memory,
        Kind::Valkey => valkey,
    }
}
