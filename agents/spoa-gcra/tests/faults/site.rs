//! What a fault happens to: a cluster of three primaries with a replica each, one or two
//! agents, and the load on them.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use spop_client::Client as Haproxy;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{self, Agent};
use spop_testkit::valkey::{self, Cluster, Server};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use crate::clients::{self, BURST, Client, INTERVAL, SHARDS};
use crate::load::{self, Fate, Load, Source};
use crate::machine::{self, Machine};
use crate::outcome::{self, Run};
use crate::promise::{Promise, Times};

/// How long anything may take that is only a question of time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The load before the fault.
const QUIET: Duration = Duration::from_millis(1500);
/// The load after the recovery.
const AFTER: Duration = Duration::from_millis(700);

/// Tests take turns: each needs the machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) agents: Vec<Agent>,
    pub(crate) clients: Arc<[Client]>,
    pub(crate) load: Load,
    machine: Machine,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    /// One agent on this cluster, the load on it, and a while without any fault.
    pub(crate) async fn start(cluster: valkey::Setup) -> Self {
        Self::with_agents(cluster, 1).await
    }

    /// [`Site::start`] with so many agents.
    pub(crate) async fn with_agents(cluster: valkey::Setup, agents: usize) -> Self {
        let turn = TURN.lock().await;
        machine::go_first();
        let cluster = Cluster::start_with(cluster).await.unwrap();
        let mut valkey = connection(cluster.node(0)).await;
        let ports: Vec<u16> = (0..SHARDS)
            .map(|shard| cluster.node(shard).port())
            .collect();
        let clients: Arc<[Client]> = clients::choose(&mut valkey, &ports).await.into();
        let mut running = Vec::new();
        for _ in 0..agents {
            let agent = agent(&cluster).start().await.unwrap();
            connected(&agent, &clients).await;
            running.push(agent);
        }
        for shard in 0..SHARDS {
            flush(cluster.node(shard)).await;
        }
        let addrs: Vec<_> = running.iter().map(Agent::addr).collect();
        let site = Self {
            machine: Machine::watch(ids(&cluster, &running)),
            load: Load::start(&addrs, &clients),
            cluster,
            agents: running,
            clients,
            _turn: turn,
        };
        sleep(QUIET).await;
        site
    }

    /// Looks at the processes of now: some were started anew.
    pub(crate) fn processes_changed(&self) {
        self.machine.watch_now(ids(&self.cluster, &self.agents));
    }

    /// Waits until the failure policy answers for some client on each of these shards.
    pub(crate) async fn falls_back(&self, shards: &[usize]) {
        let begin = Instant::now();
        loop {
            let record = self.load.record();
            let fell_back = |shard: &usize| {
                record.iter().any(|asked| {
                    self.clients[asked.client].shard == *shard
                        && asked.sent >= begin
                        && matches!(asked.fate, Fate::Answered(answer) if answer.source == Source::Fallback)
                })
            };
            if shards.iter().all(fell_back) {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the failure policy does not answer"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until Valkey decides for everybody concerned again, goes on for a bit, ends
    /// the load, judges what happened and reports it.
    pub(crate) async fn judge(self, promise: &Promise, times: Times) {
        let begin = Instant::now();
        loop {
            let record = self.load.record();
            if outcome::recovery(&record, &self.clients, promise, times.healed).is_some() {
                break;
            }
            if begin.elapsed() > PATIENCE {
                panic!("{}: not back:\n{}", promise.fault, self.log().join("\n"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        sleep(AFTER).await;
        let log = self.log();
        let record = self.load.stop().await;
        let stalls = self.machine.stalls();
        let run = Run {
            promise,
            times,
            record: &record,
            clients: &self.clients,
            stalls: &stalls,
        };
        outcome::judge(&run, &log);
    }

    fn log(&self) -> Vec<String> {
        self.agents.iter().flat_map(Agent::log).collect()
    }
}

/// The agent under test on this cluster.
pub(crate) fn agent(cluster: &Cluster) -> agent::Setup {
    agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
        .set("VALKEY_NODES", cluster.urls())
        .set("SPOA_RATE_INTERVAL", INTERVAL.as_micros())
        .set("SPOA_RATE_BURST", (INTERVAL * BURST).as_micros())
        .set("TOKIO_WORKER_THREADS", 2)
        .set("RUST_LOG", "info")
}

/// Waits until the agent decides on every shard by Valkey.
async fn connected(agent: &Agent, clients: &[Client]) {
    let mut haproxy = Haproxy::connect(agent.addr()).await.unwrap();
    for shard in 0..SHARDS {
        let client = clients.iter().find(|client| client.shard == shard).unwrap();
        let begin = Instant::now();
        while ask(&mut haproxy, client).await != Source::Valkey {
            assert!(begin.elapsed() < PATIENCE, "{:#?}", agent.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn ask(haproxy: &mut Haproxy<tokio::net::TcpStream>, client: &Client) -> Source {
    let args = [("ip_src", TypedData::Ipv4(client.addr))];
    let ack = haproxy.notify("check-rate", args).await.unwrap();
    load::read(&ack, Instant::now()).source
}

async fn flush(node: &Server) {
    let mut connection = connection(node).await;
    redis::cmd("FLUSHALL")
        .exec_async(&mut connection)
        .await
        .unwrap();
}

/// The test's own connection to a server, past any link.
pub(crate) async fn connection(server: &Server) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    connection.set_response_timeout(PATIENCE);
    connection
}

fn ids(cluster: &Cluster, agents: &[Agent]) -> Vec<u32> {
    let servers = cluster.nodes().iter().map(Server::id);
    servers
        .chain(agents.iter().map(|agent| agent.process().id()))
        .collect()
}
