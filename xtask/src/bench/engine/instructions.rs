//! User instructions per NOTIFY, by callgrind.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use spop_client::Client;
use spop_client::spop_codec::{NotifyBuilder, TypedData};
use tokio::net::TcpStream;

use super::agent::{Agent, Kind};
use super::direct::Payload;
use super::{Plan, callgrind};

/// Instructions per NOTIFY, by agent, payload and NOTIFYs in flight.
#[derive(Default)]
pub(super) struct Instructions(BTreeMap<(Kind, Payload, u16), f64>);

impl Instructions {
    /// Of each agent, but for `spop-nodelay`, whose code is that of `spop`.
    pub(super) async fn count(binary: &Path, agents: &[Kind], plan: &Plan) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for &agent in agents.iter().filter(|agent| **agent != Kind::SpopNodelay) {
            for payload in Payload::ALL {
                for &window in plan.windows {
                    eprintln!(
                        "instructions of {}: {payload}, {window} in flight",
                        agent.name()
                    );
                    let count = per_notify(binary, agent, payload, window).await?;
                    counts.insert((agent, payload, window), count);
                }
            }
        }
        Ok(Self(counts))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, agent: Kind, payload: Payload, window: u16) -> Option<f64> {
        self.0.get(&(agent, payload, window)).copied()
    }
}

/// The difference between two runs of different lengths: start, handshake and end cancel out.
async fn per_notify(binary: &Path, agent: Kind, payload: Payload, window: u16) -> Result<f64> {
    const FEW: u32 = 50;
    const MANY: u32 = 350;
    let (few, many) = tokio::try_join!(
        total(binary, agent, payload, window, FEW),
        total(binary, agent, payload, window, MANY),
    )?;
    Ok((many - few) / f64::from(MANY - FEW) / f64::from(window))
}

/// Of an agent's whole life, in which it is asked `times` times `window` NOTIFYs at once.
async fn total(
    binary: &Path,
    agent: Kind,
    payload: Payload,
    window: u16,
    times: u32,
) -> Result<f64> {
    let outer = Some((callgrind::PROGRAM, callgrind::ARGUMENTS.as_slice()));
    let agent = Agent::start_under(outer, agent, binary).await?;
    let mut client = Client::connect(agent.addr).await?;
    let notify = notify(payload)?;
    for _ in 0..times {
        ask(&mut client, &notify, window).await?;
    }
    drop(client);
    callgrind::instructions(&agent.end().await?)
}

async fn ask(client: &mut Client<TcpStream>, notify: &NotifyBuilder, window: u16) -> Result<()> {
    for _ in 0..window {
        let stream_id = client.next_stream_id();
        client.queue(&notify.clone().build(stream_id, 1))?;
    }
    client.flush().await?;
    for _ in 0..window {
        client.recv_ack().await?;
    }
    Ok(())
}

/// As `spop bench` sends it.
fn notify(payload: Payload) -> Result<NotifyBuilder> {
    let unread = "x".repeat(Payload::UNREAD);
    let address = TypedData::Ipv4([192, 0, 2, 7].into());
    let mut args = vec![
        ("ip_fwd", TypedData::Null),
        ("ip_xff", TypedData::Null),
        ("ip_src", address),
    ];
    if payload == Payload::Large {
        args.push(("payload", unread.as_str().into()));
    }
    Ok(NotifyBuilder::new().message("check-rate", args)?)
}
