//! One client that does not stop, with the denial cache and without: what of it reaches
//! Valkey, and what it does to others.

use anyhow::Result;
use spop_testkit::agent::Agent;
use spop_testkit::valkey::Server;

use super::servers::Done;
use super::{Bench, agents, servers};
use crate::bench::bar::Bar;
use crate::bench::chart::{Column, Group, Panel, colours};
use crate::bench::notifies::{Shape, Turn as Asked};
use crate::bench::{Spread, median};
use crate::markdown::Table;

/// One request a second for each client.
const LIMIT: [(&str, &str); 2] = [
    ("SPOA_RATE_INTERVAL", "1000000"),
    ("SPOA_RATE_BURST", "1000000"),
];
/// Requests a second of the client that is attacked as, in the first scene.
const ATTACK: &str = "20000";
/// Requests a second of all others together, in the second.
const OTHERS: &str = "2000";
/// Of the attack's requests, in percent.
const REACHED: f64 = 1.0;

const SHAPE: Shape = Shape::new(8, 16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// The attack alone, at a fixed rate.
    Steady,
    /// The attack as fast as it is answered, while others ask, too.
    FlatOut,
}

/// One turn of each agent in each scene, round after round.
pub(super) struct Attack {
    turns: Vec<Turn>,
}

struct Turn {
    scene: Scene,
    cached: bool,
    /// Answers to the attack a second.
    per_second: f64,
    /// Of the attack's requests, in percent.
    reached: f64,
    /// CPUs that Valkey kept busy.
    server_cpus: f64,
    /// Processor µs of the agent for each request.
    agent_cpu: f64,
    /// How long others waited, p99 in ms.
    others: Option<f64>,
}

impl Scene {
    const ALL: [Self; 2] = [Self::Steady, Self::FlatOut];

    fn name(self) -> String {
        match self {
            Self::Steady => format!("{ATTACK}/s"),
            Self::FlatOut => format!("flat out, others {OTHERS}/s"),
        }
    }
}

impl Attack {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let server = servers::start(bench).await?;
        let url = server.url();
        let [interval, burst] = LIMIT;
        let nodes = ("VALKEY_NODES", url.as_str());
        let without = [interval, burst, nodes, ("SPOA_DENIAL_CACHE", "0")];
        let without = agents::start(bench, &without).await?;
        let with = agents::start(bench, &[interval, burst, nodes]).await?;
        let mut turns = Vec::new();
        for _ in bench.rounds("attack") {
            for scene in Scene::ALL {
                for (agent, cached) in [(&without, false), (&with, true)] {
                    turns.push(turn(bench, &server, agent, cached, scene).await?);
                }
            }
        }
        Ok(Self { turns })
    }

    fn spread(&self, scene: Scene, cached: bool, value: impl Fn(&Turn) -> f64) -> Spread {
        let turns = self.turns.iter();
        let turns = turns.filter(|turn| turn.scene == scene && turn.cached == cached);
        median(turns.map(value).collect())
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let what = format!("one client at {ATTACK}/s, limit 1/s: share that reaches Valkey");
        let reached = self.spread(Scene::Steady, true, |turn| turn.reached);
        let limit = format!("< {REACHED:.0}%");
        let bar = Bar::at_most(what, REACHED, limit, reached);
        vec![Bar {
            measured: format!(
                "{:.3}% [{:.3}–{:.3}]",
                reached.middle, reached.low, reached.high
            ),
            ..bar
        }]
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new([
            "attack",
            "denial cache",
            "answers/s",
            "reached Valkey %",
            "Valkey, CPUs busy",
            "agent CPU µs/request",
            "others, p99 ms",
        ]);
        for scene in Scene::ALL {
            for cached in [false, true] {
                let spread =
                    |value: fn(&Turn) -> f64| self.spread(scene, cached, value).to_string();
                let others = match scene {
                    Scene::Steady => String::new(),
                    Scene::FlatOut => spread(|turn| turn.others.unwrap_or(f64::NAN)),
                };
                table.row([
                    scene.name(),
                    if cached { "on" } else { "off" }.to_owned(),
                    spread(|turn| turn.per_second),
                    spread(|turn| turn.reached),
                    spread(|turn| turn.server_cpus),
                    spread(|turn| turn.agent_cpu),
                    others,
                ]);
            }
        }
        format!(
            "### Under attack\n\n{}\n\nEvery request of the attack is of one client, which may \
             send one a second; others are a million clients at random. Requests of one client \
             that wait for Valkey together take one run of the script, with the cache or \
             without.\n",
            table.markdown()
        )
    }

    pub(super) fn panel(&self) -> Panel {
        let group = |scene: Scene, cached: bool| Group {
            text: format!(
                "{}\ncache {}",
                match scene {
                    Scene::Steady => "20 000/s",
                    Scene::FlatOut => "flat out",
                },
                if cached { "on" } else { "off" }
            ),
            columns: vec![Column {
                height: self.spread(scene, cached, |turn| turn.reached).middle,
                colour: if cached {
                    colours::BLUE
                } else {
                    colours::ORANGE
                },
            }],
        };
        Panel {
            caption: "One client's flood: % that reaches Valkey".to_owned(),
            groups: Scene::ALL
                .into_iter()
                .flat_map(|scene| [group(scene, false), group(scene, true)])
                .collect(),
            mark: None,
        }
    }
}

async fn turn(
    bench: &Bench,
    server: &Server,
    agent: &Agent,
    cached: bool,
    scene: Scene,
) -> Result<Turn> {
    let servers = std::slice::from_ref(server);
    let (addr, process) = (agent.addr(), agent.process().id());
    let one = ["--arg", "ip_src=192.0.2.7"];
    let many = [
        "--random-ip",
        "ip_src=1000000",
        "--rate",
        OTHERS,
        "--jitter",
    ];
    let before = Done::by(servers).await?;
    let (attack, others): (Asked, Option<Asked>) = match scene {
        Scene::Steady => {
            let further = [one, ["--rate", ATTACK]];
            let attack = bench.ask(addr, process, SHAPE, further.as_flattened());
            (attack.await?, None)
        }
        Scene::FlatOut => {
            let attack = bench.ask(addr, process, SHAPE, &one);
            let others = bench.ask(addr, process, SHAPE, &many);
            let (attack, others) = tokio::try_join!(attack, others)?;
            (attack, Some(others))
        }
    };
    let done = Done::by(servers).await?.since(before);
    let (sent, per_second) = match others {
        Some(others) => (others.sent, others.per_second),
        None => (0.0, 0.0),
    };
    let seconds = (bench.turn + bench.warmup).as_secs_f64();
    Ok(Turn {
        scene,
        cached,
        per_second: attack.per_second,
        reached: 100.0 * (done.decisions - sent).max(0.0) / attack.sent,
        server_cpus: done.cpu / 1e6 / seconds,
        agent_cpu: attack.cpu * attack.per_second / (attack.per_second + per_second),
        others: others.map(|others| others.p99 / 1e3),
    })
}
