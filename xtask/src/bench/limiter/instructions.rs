//! User instructions of the agent for each decision, by callgrind.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use spop_client::Client;
use spop_client::spop_codec::{NotifyBuilder, TypedData};

use super::agents::Counted;
use super::{Bench, servers};
use crate::markdown::Table;

/// NOTIFYs in flight, all written at once: alone, and as many as the agent takes on one
/// connection.
const WINDOWS: [u32; 3] = [1, 16, 64];

/// Instructions per decision, with as many in flight.
pub(super) struct Instructions(Vec<(u32, Counts)>);

struct Counts {
    memory: f64,
    valkey: f64,
}

impl Instructions {
    pub(super) async fn count(bench: &Bench) -> Result<Self> {
        let server = servers::start(bench).await?;
        let nodes = server.url();
        let mut counts = Vec::new();
        for window in WINDOWS {
            eprintln!("instructions: {window} in flight");
            let memory = per_decision(&bench.agent, &[], window).await?;
            let nodes = [("VALKEY_NODES", &*nodes)];
            let valkey = per_decision(&bench.agent, &nodes, window).await?;
            counts.push((window, Counts { memory, valkey }));
        }
        Ok(Self(counts))
    }

    pub(super) fn section(&self) -> String {
        let mut table = Table::new(["in flight", "state in memory", "in Valkey", "beyond memory"]);
        for (window, Counts { memory, valkey }) in &self.0 {
            let beyond = valkey - memory;
            let numbers = [*memory, *valkey, beyond].map(|count| format!("{count:.0}"));
            table.row(std::iter::once(window.to_string()).chain(numbers));
        }
        format!(
            "### User instructions of the agent per decision\n\n{}\n\nOne connection; counted by \
             callgrind, without the kernel's.\n",
            table.markdown()
        )
    }
}

/// The difference between two runs of different lengths: start, handshake and end cancel out.
pub(super) async fn per_decision(
    agent: &Path,
    settings: &[(&str, &str)],
    window: u32,
) -> Result<f64> {
    const FEW: u32 = 50;
    const MANY: u32 = 350;
    let (few, many) = tokio::try_join!(
        total(agent, settings, window, FEW),
        total(agent, settings, window, MANY),
    )?;
    Ok((many - few) / f64::from(MANY - FEW) / f64::from(window))
}

/// Of an agent's whole life, in which it is asked `times` times `window` NOTIFYs at once.
async fn total(agent: &Path, settings: &[(&str, &str)], window: u32, times: u32) -> Result<f64> {
    let agent = Counted::start(agent, settings).await?;
    ask(agent.addr, window, times).await?;
    agent.end().await
}

async fn ask(addr: SocketAddr, window: u32, times: u32) -> Result<()> {
    let mut client = Client::connect(addr).await?;
    let mut addresses = (0x0A00_0000..).map(|bits: u32| TypedData::Ipv4(bits.into()));
    for _ in 0..times {
        for address in addresses.by_ref().take(window as usize) {
            let stream_id = client.next_stream_id();
            let absent = TypedData::Null;
            let args = [("ip_fwd", absent), ("ip_xff", absent), ("ip_src", address)];
            let notify = NotifyBuilder::new().message("check-rate", args)?;
            client.queue(&notify.build(stream_id, 1))?;
        }
        client.flush().await?;
        for _ in 0..window {
            client.recv_ack().await?;
        }
    }
    Ok(())
}
