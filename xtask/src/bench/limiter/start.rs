//! From the start of the agent's process to its first answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use spop_client::Client;
use spop_client::spop_codec::{Ack, Action, TypedData};
use spop_testkit::port;
use spop_testkit::process::Process;
use spop_testkit::tools::Program;
use spop_testkit::valkey::Server;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Bench;
use crate::bench::bar::Bar;
use crate::bench::median;
use crate::markdown::Table;

/// ms.
const LATEST: f64 = 50.0;
/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Valkey {
    Unused,
    Up,
    Down,
}

/// Some starts with each.
pub(super) struct Start {
    starts: Vec<(Valkey, First)>,
}

/// ms since the start.
#[derive(Debug, Clone, Copy)]
struct First {
    answer: f64,
    /// The first that was decided where it should be.
    proper: f64,
}

impl Valkey {
    const ALL: [Self; 3] = [Self::Unused, Self::Up, Self::Down];

    const fn name(self) -> &'static str {
        match self {
            Self::Unused => "not used",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Who decides in the end: a value of the variable `source`.
    const fn source(self) -> &'static [u8] {
        match self {
            Self::Unused => b"memory",
            Self::Up => b"valkey",
            Self::Down => b"fallback",
        }
    }
}

impl Start {
    pub(super) async fn measure(bench: &Bench) -> Result<Self> {
        let server = Server::start().await?;
        let nobody = format!("redis://{}", port::free_addr()?);
        let mut starts = Vec::new();
        for _ in bench.rounds("start") {
            for valkey in Valkey::ALL {
                let nodes = match valkey {
                    Valkey::Unused => None,
                    Valkey::Up => Some(server.url()),
                    Valkey::Down => Some(nobody.clone()),
                };
                starts.push((valkey, First::measure(bench, valkey, nodes).await?));
            }
        }
        Ok(Self { starts })
    }

    fn spread(&self, valkey: Valkey, value: fn(&First) -> f64) -> super::super::Spread {
        let starts = self.starts.iter().filter(|(other, _)| *other == valkey);
        median(starts.map(|(_, first)| value(first)).collect())
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let bar = |valkey: Valkey| {
            let what = format!("start to first answer, Valkey {}", valkey.name());
            let measured = self.spread(valkey, |first| first.answer);
            Bar::at_most(what, LATEST, format!("< {LATEST:.0} ms"), measured)
        };
        vec![bar(Valkey::Up), bar(Valkey::Down)]
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new(["Valkey", "first answer, ms", "first by", "ms"]);
        for valkey in Valkey::ALL {
            table.row([
                valkey.name().to_owned(),
                self.spread(valkey, |first| first.answer).to_string(),
                format!("`{}`", String::from_utf8_lossy(valkey.source())),
                self.spread(valkey, |first| first.proper).to_string(),
            ]);
        }
        format!(
            "### From start to answer\n\n{}\n\nFrom before the process is made to the ACK of a \
             NOTIFY, connecting and handshake included; then to the first ACK whose `source` is \
             who decides from then on.\n",
            table.markdown()
        )
    }
}

impl First {
    async fn measure(bench: &Bench, valkey: Valkey, nodes: Option<String>) -> Result<Self> {
        let addr = port::free_addr()?;
        let started = Instant::now();
        let elapsed = || started.elapsed().as_secs_f64() * 1e3;
        let _agent = Process::spawn("spoa-gcra", &Program::at(&bench.agent), |command| {
            command.env("SPOE_ADDR", addr.to_string());
            match nodes {
                Some(nodes) => command.env("VALKEY_NODES", nodes),
                None => command.env_remove("VALKEY_NODES"),
            };
        })?;
        let mut client = connected(addr, started).await?;
        let mut answer = None;
        loop {
            let address = TypedData::Ipv4([192, 0, 2, 7].into());
            let ack = client.notify("check-rate", [("ip_src", address)]).await?;
            let now = elapsed();
            let answer = *answer.get_or_insert(now);
            if is_by(&ack, valkey.source()) {
                let proper = now;
                return Ok(Self { answer, proper });
            }
            if started.elapsed() > PATIENCE {
                bail!("Valkey is {}, and the agent does not see it", valkey.name());
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// As soon as it listens.
async fn connected(addr: SocketAddr, started: Instant) -> Result<Client<TcpStream>> {
    loop {
        match Client::connect(addr).await {
            Ok(client) => return Ok(client),
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(error).context("the agent does not listen");
            }
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

fn is_by(ack: &Ack, source: &[u8]) -> bool {
    ack.actions().any(|action| match action {
        Action::SetVar { name, value, .. } => {
            name.as_bytes() == b"source" && value.to_bytes() == Some(source)
        }
        _ => false,
    })
}
