//! Decisions a second through one primary: of valkey-benchmark with the agent's command, of
//! the store's client by itself, and of the agent.

use std::time::Instant;

use anyhow::Result;
use spop_testkit::valkey::Server;

use super::command::{Benchmark, PIPELINE};
use super::servers::Done;
use super::{Bench, MANY, agents, servers, store};
use crate::bench::bar::Bar;
use crate::bench::chart::{Column, Group, Panel, colours};
use crate::bench::{Spread, median};
use crate::markdown::Table;

/// Of what valkey-benchmark reaches.
const SHARE: f64 = 0.9;

/// Who asks the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Benchmark,
    Store,
    Agent,
}

/// One turn of each, round after round.
pub(super) struct Throughput {
    command: String,
    rounds: Vec<[Turn; 3]>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    /// Processor µs for each decision; of valkey-benchmark it is not known.
    cpu: f64,
    /// The same of the server.
    server_cpu: f64,
    /// CPUs that the server kept busy; with one, nobody could have decided more.
    busy: f64,
    /// Runs of the script for each decision.
    runs: f64,
}

impl Asker {
    const ALL: [Self; 3] = [Self::Benchmark, Self::Store, Self::Agent];

    const fn name(self) -> &'static str {
        match self {
            Self::Benchmark => "valkey-benchmark",
            Self::Store => "the store's client",
            Self::Agent => "the agent",
        }
    }
}

impl Throughput {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let server = servers::start(bench).await?;
        let benchmark = Benchmark::like_the_agent(bench, &server).await?;
        let agent = agents::start(bench, &[("VALKEY_NODES", &server.url())]).await?;
        let clients = format!("ip_src={}", super::CLIENTS);
        // A short run tells how many commands fill a turn.
        let rate = benchmark.run(bench, &server, 50_000).await?;
        let count = (rate * bench.turn.as_secs_f64()) as u64;

        let mut rounds = Vec::new();
        for _ in bench.rounds("throughput") {
            let mut turns = Vec::new();
            for asker in Asker::ALL {
                let before = (Instant::now(), done(&server).await?);
                let (per_second, asked, cpu) = match asker {
                    Asker::Benchmark => {
                        let rate = benchmark.run(bench, &server, count).await?;
                        (rate, count as f64, f64::NAN)
                    }
                    Asker::Store => {
                        let turn = store::Turn::measure(bench, &server.url(), &[]).await?;
                        (turn.per_second, turn.asked, turn.cpu)
                    }
                    Asker::Agent => {
                        let (addr, process) = (agent.addr(), agent.process().id());
                        let turn = bench
                            .ask(addr, process, MANY, &["--random-ip", &clients])
                            .await?;
                        (turn.per_second, turn.sent, turn.cpu)
                    }
                };
                let done = done(&server).await?.since(before.1);
                turns.push(Turn {
                    per_second,
                    cpu,
                    server_cpu: done.cpu / asked,
                    busy: done.cpu / 1e6 / before.0.elapsed().as_secs_f64(),
                    runs: done.decisions / asked,
                });
            }
            if let Ok(turns) = turns.try_into() {
                rounds.push(turns);
            }
        }
        Ok(Self {
            command: benchmark.shown(),
            rounds,
        })
    }

    /// The least share of decisions, in percent, that were Valkey's: what a machine that is
    /// too busy leaves undecided for long goes past it. (Equal keys in one write take one run.)
    fn decided_there(&self) -> f64 {
        let turns = self.rounds.iter().flatten();
        100.0 * turns.map(|turn| turn.runs).fold(1.0, f64::min)
    }

    fn values(&self, asker: Asker, value: impl Fn(&Turn) -> f64) -> Vec<f64> {
        let turns = self.rounds.iter();
        let turns = turns.filter_map(|turns| turns.get(asker as usize));
        turns.map(value).collect()
    }

    /// As a share of valkey-benchmark's, each round by itself.
    fn shares(&self, asker: Asker, value: fn(&Turn) -> f64) -> Spread {
        let values = self.values(asker, value);
        let reference = self.values(Asker::Benchmark, value);
        let pairs = values.into_iter().zip(reference);
        median(pairs.map(|(value, reference)| value / reference).collect())
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let bar = |asker: Asker| {
            let what = format!(
                "decisions/s through one primary, {}, as a share of valkey-benchmark's",
                asker.name()
            );
            let share = self.shares(asker, |turn| turn.per_second);
            Bar::at_least(what, SHARE, format!("≥ {SHARE:.2}"), share)
        };
        vec![bar(Asker::Store), bar(Asker::Agent)]
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new([
            "asked by",
            "decisions/s",
            "x valkey-benchmark",
            "its CPU µs/decision",
            "Valkey CPU µs/decision",
            "the same, x valkey-benchmark",
            "Valkey, CPUs busy",
        ]);
        for asker in Asker::ALL {
            let own = match asker {
                Asker::Benchmark => "-".to_owned(),
                _ => median(self.values(asker, |turn| turn.cpu)).to_string(),
            };
            table.row([
                asker.name().to_owned(),
                median(self.values(asker, |turn| turn.per_second)).to_string(),
                self.shares(asker, |turn| turn.per_second).to_string(),
                own,
                median(self.values(asker, |turn| turn.server_cpu)).to_string(),
                self.shares(asker, |turn| turn.server_cpu).to_string(),
                median(self.values(asker, |turn| turn.busy)).to_string(),
            ]);
        }
        format!(
            "### Through one primary\n\n{}\n\n`valkey-benchmark -c 50 -P {PIPELINE}` sends the \
             command that MONITOR showed of the agent, `{}`, with {} keys at random; the \
             store's client and the agent ({MANY}) decide about as many clients, {} at once. \
             All are within their limit. In the worst turn {:.1} % of the decisions were runs of \
             the script.\n",
            table.markdown(),
            self.command,
            super::CLIENTS,
            store::IN_FLIGHT,
            self.decided_there(),
        )
    }

    pub(super) fn panel(&self) -> Panel {
        let group = |asker: Asker| Group {
            text: asker.name().replacen(' ', "\n", 1),
            columns: vec![Column {
                height: self.shares(asker, |turn| turn.per_second).middle,
                colour: match asker {
                    Asker::Benchmark => colours::GREY,
                    Asker::Store => colours::SKY,
                    Asker::Agent => colours::BLUE,
                },
            }],
        };
        Panel {
            caption: "Decisions/s through one primary, x valkey-benchmark".to_owned(),
            groups: Asker::ALL.map(group).into(),
            mark: Some(SHARE),
        }
    }
}

async fn done(server: &Server) -> Result<Done> {
    Done::by(std::slice::from_ref(server)).await
}
