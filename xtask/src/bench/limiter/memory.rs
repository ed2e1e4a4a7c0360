//! Bytes: for each client in Valkey and in the agent, for each connection, and all at once.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use spop_client::Client;
use spop_client::spop_codec::{NotifyBuilder, TypedData};
use spop_testkit::agent::Agent;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Bench, agents, servers, store};
use crate::bench::bar::Bar;
use crate::bench::notifies::Shape;
use crate::markdown::Table;

/// In the agent, and in each of its rows below.
const CLIENTS: u32 = 200_000;
/// In Valkey: where its table of keys is well filled, and where it has just grown.
const KEYS: [u32; 2] = [200_000, 1_000_000];

const CONNECTIONS: u16 = 2000;
const WINDOW: u16 = 20;

/// Bytes for each.
const VALKEY_IPV4: f64 = 96.0;
const VALKEY_IPV6: f64 = 112.0;
const CLIENT: f64 = 96.0;
const IDLE_CONNECTION: f64 = 8192.0;
/// The agent with all of it, in MiB.
const AGENT: f64 = 64.0;

/// A client is remembered for an hour after each request.
const SLOW: [(&str, &str); 3] = [
    ("SPOA_RATE_INTERVAL", "3600000000"),
    ("SPOA_RATE_BURST", "72000000000"),
    ("SPOA_RATE_TTL", "86400"),
];

pub(super) struct Memory {
    keys: Vec<Keys>,
    idle_connection: f64,
    /// What the table of the store takes, by its own account.
    allocated: f64,
    in_memory: Full,
    in_valkey: Full,
}

/// Keys in Valkey.
struct Keys {
    count: u32,
    /// Bytes for each.
    ipv4: f64,
    ipv6: f64,
}

/// An agent with many clients, then asked over many connections with much in flight.
struct Full {
    /// Resident bytes that each client added.
    client: f64,
    /// The most that was resident, in MiB.
    peak: f64,
}

impl Memory {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        eprintln!("memory: clients in Valkey");
        let mut keys = Vec::new();
        for count in KEYS {
            keys.push(Keys {
                count,
                ipv4: bytes_a_key(bench, count, "ipv4").await?,
                ipv6: bytes_a_key(bench, count, "ipv6").await?,
            });
        }
        eprintln!("memory: clients and connections of the agent");
        let clients = CLIENTS.to_string();
        let said = store::run(bench, &["memory", "--clients", &clients]).await?;
        Ok(Self {
            keys,
            idle_connection: idle_connection(bench).await?,
            allocated: store::figure(&said, "bytes_a_client")?,
            in_memory: in_memory(bench).await?,
            in_valkey: in_valkey(bench).await?,
        })
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let bar = |what: &str, bytes: f64, limit: f64| Bar {
            what: what.to_owned(),
            limit: format!("≤ {limit:.0} bytes"),
            measured: format!("{bytes:.1}"),
            met: bytes <= limit,
        };
        let worst = |of: fn(&Keys) -> f64| self.keys.iter().map(of).fold(0.0, f64::max);
        let peak = self.in_memory.peak.max(self.in_valkey.peak);
        vec![
            bar(
                "a client in Valkey, IPv4",
                worst(|keys| keys.ipv4),
                VALKEY_IPV4,
            ),
            bar(
                "a client in Valkey, IPv6 /64",
                worst(|keys| keys.ipv6),
                VALKEY_IPV6,
            ),
            bar(
                "a client in the agent's memory",
                self.in_memory.client,
                CLIENT,
            ),
            bar(
                "an idle connection of the agent",
                self.idle_connection,
                IDLE_CONNECTION,
            ),
            Bar {
                what: format!(
                    "the agent with {CONNECTIONS} x {WINDOW} in flight and {CLIENTS} clients"
                ),
                limit: format!("≤ {AGENT:.0} MiB"),
                measured: format!("{peak:.1}"),
                met: peak <= AGENT,
            },
        ]
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new(["", "takes"]);
        let mut row = |what: String, much: String| table.row([what, much]);
        let bytes = |bytes: f64| format!("{bytes:.1} bytes");
        let mib = |mib: f64| format!("{mib:.1} MiB");
        for Keys { count, ipv4, ipv6 } in &self.keys {
            row(
                format!("a client in Valkey, IPv4, of {count}"),
                bytes(*ipv4),
            );
            row(
                format!("a client in Valkey, IPv6 /64, of {count}"),
                bytes(*ipv6),
            );
        }
        row(
            format!("a client in the agent, resident, of {CLIENTS}"),
            bytes(self.in_memory.client),
        );
        row(
            "the same by the store's own account".to_owned(),
            bytes(self.allocated),
        );
        row(
            "an idle connection that has asked once".to_owned(),
            bytes(self.idle_connection),
        );
        row(
            "the agent full, state in memory".to_owned(),
            mib(self.in_memory.peak),
        );
        row(
            "the agent full, Valkey back after an outage".to_owned(),
            mib(self.in_valkey.peak),
        );
        format!(
            "### Memory\n\n{}\n\nIn Valkey: the growth of `used_memory`, by keys of random \
             addresses. In the agent: resident memory, without the kernel's sockets. Full: the \
             most that was resident while {CONNECTIONS} connections had {WINDOW} NOTIFYs in \
             flight each, after {CLIENTS} clients had asked; in the last line those were decided \
             by the fallback, Valkey being away, and the load came when it was back.\n",
            table.markdown()
        )
    }
}

/// What a key adds to Valkey's memory.
async fn bytes_a_key(bench: &Bench, count: u32, family: &str) -> Result<f64> {
    let server = servers::start(bench).await?;
    let before = servers::used_memory(&server).await?;
    let (url, clients) = (server.url(), count.to_string());
    let fill = [
        "fill",
        "--nodes",
        &url,
        "--clients",
        &clients,
        "--family",
        family,
    ];
    store::run(bench, &fill).await?;
    let keys: f64 = server.cli(&["dbsize"]).await?.parse()?;
    // Random addresses are the same now and then.
    if keys < 0.99 * f64::from(count) {
        bail!("of {count} clients Valkey has {keys}");
    }
    Ok((servers::used_memory(&server).await? - before) / keys)
}

/// What a connection adds to the agent's memory that has asked something and is silent now.
async fn idle_connection(bench: &Bench) -> Result<f64> {
    let agent = agents::start(bench, &[]).await?;
    let mut connections = vec![asked(agent.addr()).await?];
    let before = resident(&agent, "VmRSS:")?;
    for _ in 0..CONNECTIONS {
        connections.push(asked(agent.addr()).await?);
    }
    let after = resident(&agent, "VmRSS:")?;
    Ok((after - before) / f64::from(CONNECTIONS))
}

async fn asked(addr: SocketAddr) -> Result<Client<TcpStream>> {
    let mut client = Client::connect(addr).await?;
    let address = TypedData::Ipv4(Ipv4Addr::LOCALHOST);
    client.notify("check-rate", [("ip_src", address)]).await?;
    Ok(client)
}

async fn in_memory(bench: &Bench) -> Result<Full> {
    let agent = agents::start(bench, &SLOW).await?;
    let client = fill(&agent).await?;
    load(bench, &agent).await?;
    let peak = resident(&agent, "VmHWM:")? / 1024.0 / 1024.0;
    Ok(Full { client, peak })
}

/// The fallback's memory is full, from when Valkey was away, and now it is back.
async fn in_valkey(bench: &Bench) -> Result<Full> {
    let server = servers::start(bench).await?;
    let url = server.url();
    server.kill();
    let [interval, burst, ttl] = SLOW;
    let agent = agents::start(bench, &[interval, burst, ttl, ("VALKEY_NODES", &url)]).await?;
    let client = fill(&agent).await?;
    server.restart().await?;
    servers::pin(bench, &server).await?;
    let patience = Instant::now() + Duration::from_secs(30);
    while server.cli(&["dbsize"]).await? == "0" {
        if Instant::now() > patience {
            bail!("the agent does not find the server again");
        }
        asked(agent.addr()).await?;
        sleep(Duration::from_millis(10)).await;
    }
    load(bench, &agent).await?;
    let peak = resident(&agent, "VmHWM:")? / 1024.0 / 1024.0;
    Ok(Full { client, peak })
}

/// Asks once for each client. Returns the bytes that one added.
async fn fill(agent: &Agent) -> Result<f64> {
    const AT_ONCE: usize = 64;
    let mut connection = asked(agent.addr()).await?;
    let before = resident(agent, "VmRSS:")?;
    let clients: Vec<Ipv4Addr> = (0..CLIENTS).map(|n| (0x0A00_0000 + n).into()).collect();
    for clients in clients.chunks(AT_ONCE) {
        for &client in clients {
            let stream_id = connection.next_stream_id();
            let args = [("ip_src", TypedData::Ipv4(client))];
            let notify = NotifyBuilder::new().message("check-rate", args)?;
            connection.queue(&notify.build(stream_id, 1))?;
        }
        connection.flush().await?;
        for _ in clients {
            connection.recv_ack().await?;
        }
    }
    let after = resident(agent, "VmRSS:")?;
    Ok((after - before) / f64::from(CLIENTS))
}

async fn load(bench: &Bench, agent: &Agent) -> Result<()> {
    let (addr, process) = (agent.addr(), agent.process().id());
    let shape = Shape::new(CONNECTIONS, WINDOW);
    let clients = format!("ip_src={CLIENTS}");
    bench
        .ask(addr, process, shape, &["--random-ip", &clients])
        .await?;
    Ok(())
}

/// A figure of `/proc/PID/status`, in bytes.
fn resident(agent: &Agent, name: &str) -> Result<f64> {
    let path = format!("/proc/{}/status", agent.process().id());
    let status = fs::read_to_string(path)?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: f64 = kib.with_context(|| format!("no {name}"))?.trim().parse()?;
    Ok(kib * 1024.0)
}
