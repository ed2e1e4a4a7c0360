//! One primary and three, behind the same agent.

use anyhow::Result;
use spop_testkit::valkey::{Cluster, Server};

use super::servers::Done;
use super::{Bench, CLIENTS, MANY, agents, servers};
use crate::bench::{Spread, median};
use crate::markdown::Table;

/// One turn with one primary and one with three, round after round.
pub(super) struct Primaries {
    rounds: Vec<[Turn; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    p99: f64,
    /// Processor µs per decision.
    agent_cpu: f64,
    /// Of all primaries together.
    servers_cpu: f64,
}

impl Primaries {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let one = [servers::start(bench).await?];
        let three = Cluster::start(3).await?;
        for server in three.nodes() {
            servers::pin(bench, server).await?;
        }
        let url = one.iter().map(Server::url).collect::<String>();
        let with_one = agents::start(bench, &[("VALKEY_NODES", &url)]).await?;
        let with_three = agents::start(bench, &[("VALKEY_NODES", &three.urls())]).await?;
        let clients = format!("ip_src={CLIENTS}");

        let mut rounds = Vec::new();
        for _ in bench.rounds("primaries") {
            let mut turns = Vec::new();
            for (agent, servers) in [(&with_one, &one[..]), (&with_three, three.nodes())] {
                let (addr, process) = (agent.addr(), agent.process().id());
                let before = Done::by(servers).await?;
                let turn = bench
                    .ask(addr, process, MANY, &["--random-ip", &clients])
                    .await?;
                let done = Done::by(servers).await?.since(before);
                turns.push(Turn {
                    per_second: turn.per_second,
                    p99: turn.p99,
                    agent_cpu: turn.cpu,
                    servers_cpu: done.cpu_each(),
                });
            }
            if let Ok(turns) = turns.try_into() {
                rounds.push(turns);
            }
        }
        Ok(Self { rounds })
    }

    fn spread(&self, value: impl Fn(&[Turn; 2]) -> f64) -> Spread {
        median(self.rounds.iter().map(value).collect())
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new([
            "primaries",
            "decisions/s",
            "p99 µs",
            "agent CPU µs/decision",
            "Valkey CPU µs/decision, all",
        ]);
        let mut row = |name: &str, text: &dyn Fn(fn(&Turn) -> f64) -> String| {
            table.row([
                name.to_owned(),
                text(|turn| turn.per_second),
                text(|turn| turn.p99),
                text(|turn| turn.agent_cpu),
                text(|turn| turn.servers_cpu),
            ]);
        };
        row("1", &|value| self.spread(|[one, _]| value(one)).to_string());
        row("3", &|value| {
            self.spread(|[_, three]| value(three)).to_string()
        });
        row("3 : 1", &|value| {
            let ratio = self.spread(|[one, three]| value(three) / value(one));
            ratio.to_string()
        });
        format!(
            "### One primary and three\n\n{}\n\nThe agent, {MANY}. All primaries share one CPU \
             here, so three do not decide more than one does; what each decision costs is what \
             to compare.\n",
            table.markdown()
        )
    }
}
