//! What there is to see: an agent over a cluster, and clients of several kinds.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use spop_client::Client;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{self, Agent};
use spop_testkit::port;
use spop_testkit::process::Signal;
use spop_testkit::valkey::Cluster;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

const POLICIES: &str = r#"
[policy.default]
rate = "10/s"
burst = 20

[policy.api]
rate = "5/s"
burst = 40
lease = { requests = 5, ttl_ms = 1000 }

[policy.login]
messages = ["check-login"]
failure = "closed"
limits = [
    { name = "second", rate = "2/s", burst = 5 },
    { name = "hour", rate = "100/h", burst = 50 },
]

[policy.search]
rate = "1/s"
burst = 3
shadow = true

[policy.static]
unlimited = true
allow = ["192.0.2.0/28"]
deny = ["198.51.100.128/25"]
"#;

/// Requests of one kind.
struct Stream {
    policy: &'static str,
    /// A second.
    rate: f64,
    /// The first of the clients, and how many there are.
    clients: (Ipv4Addr, u32),
    /// When it flows, as parts of the whole time.
    when: (f64, f64),
}

const STREAMS: [Stream; 8] = [
    stream("default", 260.0, [203, 0, 113, 0], 80, (0.0, 1.0)),
    // More than its limit.
    stream("default", 60.0, [198, 51, 100, 20], 3, (0.0, 1.0)),
    stream("default", 110.0, [192, 0, 2, 64], 60, (0.3, 0.75)),
    stream("api", 90.0, [192, 0, 2, 10], 12, (0.0, 1.0)),
    stream("login", 9.0, [203, 0, 113, 100], 40, (0.0, 1.0)),
    // Somebody tries passwords.
    stream("login", 170.0, [198, 51, 100, 7], 1, (0.45, 0.78)),
    stream("search", 35.0, [203, 0, 113, 30], 25, (0.0, 1.0)),
    stream("static", 45.0, [203, 0, 113, 0], 60, (0.0, 1.0)),
];

/// When a primary does not answer, as parts of the whole time.
const FROZEN: (f64, f64) = (0.88, 1.0);

const fn stream(
    policy: &'static str,
    rate: f64,
    [a, b, c, d]: [u8; 4],
    clients: u32,
    when: (f64, f64),
) -> Stream {
    Stream {
        policy,
        rate,
        clients: (Ipv4Addr::new(a, b, c, d), clients),
        when,
    }
}

/// The agent and its Valkeys, ended when dropped.
pub(super) struct Scene {
    agent: Agent,
    admin: SocketAddr,
    cluster: Cluster,
    _dir: TempDir,
}

impl Scene {
    pub(super) async fn start(binary: &Path) -> Result<Self> {
        let cluster = Cluster::start(3).await?;
        let dir = TempDir::with_prefix("screenshots-")?;
        let policies = dir.path().join("policies.toml");
        fs::write(&policies, POLICIES)?;
        let admin = port::free_addr()?;
        let agent = agent::Setup::new(binary)
            .set("SPOA_ADMIN_ADDR", admin)
            .set("SPOA_CONFIG", policies.display())
            .set("VALKEY_NODES", cluster.urls())
            // The picture is not of how busy this machine was.
            .set("SPOA_DECISION_BUDGET", 100)
            .start()
            .await?;
        Ok(Self {
            agent,
            admin,
            cluster,
            _dir: dir,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.admin)
    }

    /// Sends requests until `end`.
    pub(super) async fn load(&self, end: Instant) -> Result<()> {
        let start = Instant::now();
        let at = |part: f64| start + (end - start).mul_f64(part);
        let mut streams = JoinSet::new();
        for stream in &STREAMS {
            let (from, until) = (at(stream.when.0), at(stream.when.1));
            streams.spawn(stream.send(self.agent.addr(), from, until));
        }
        let frozen = self.cluster.nodes().get(1).context("a cluster of three")?;
        sleep_until(at(FROZEN.0)).await;
        frozen.signal(Signal::STOP)?;
        sleep_until(at(FROZEN.1)).await;
        frozen.signal(Signal::CONT)?;
        while let Some(sent) = streams.join_next().await {
            sent??;
        }
        Ok(())
    }
}

impl Stream {
    /// On a connection of its own, each client in its turn.
    async fn send(&self, agent: SocketAddr, from: Instant, until: Instant) -> Result<()> {
        let mut haproxy = Client::connect(agent).await?;
        sleep_until(from).await;
        let mut ticks = interval(Duration::from_secs_f64(1.0 / self.rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (first, count) = self.clients;
        for number in (0..count).cycle() {
            ticks.tick().await;
            if Instant::now() >= until {
                break;
            }
            let client = Ipv4Addr::from_bits(first.to_bits() + number);
            let args = [
                ("ip_src", TypedData::Ipv4(client)),
                ("policy", TypedData::from(self.policy)),
            ];
            haproxy.notify("check-rate", args).await?;
        }
        Ok(())
    }
}
