//! Who asks: clients within their limit and clients far above it, on every shard alike.

use std::net::Ipv4Addr;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

/// Time between two requests at the limit.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// Requests that a client may send at once.
pub(crate) const BURST: u32 = 20;
/// Shards, each a primary and its replica.
pub(crate) const SHARDS: usize = 3;

/// On each shard.
const MODEST: usize = 14;
/// On each shard.
const GREEDY: usize = 6;

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) addr: Ipv4Addr,
    pub(crate) kind: Kind,
    /// Which of the primaries that the cluster began with owns it.
    pub(crate) shard: usize,
    pub(crate) slot: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends half of what it may.
    Modest,
    /// Sends six times what it may.
    Greedy,
}

impl Kind {
    /// Time between two requests.
    pub(crate) fn period(self) -> Duration {
        match self {
            Self::Modest => INTERVAL * 2,
            Self::Greedy => INTERVAL / 6,
        }
    }
}

impl Client {
    /// Its key in Valkey.
    pub(crate) fn key(&self) -> String {
        key(self.addr)
    }
}

fn key(addr: Ipv4Addr) -> String {
    format!("gcra:{addr}")
}

/// The same number of each kind on every shard. `ports` are the primaries'.
pub(crate) async fn choose(valkey: &mut MultiplexedConnection, ports: &[u16]) -> Vec<Client> {
    let ranges = slots(valkey).await;
    let mut clients: Vec<Client> = Vec::new();
    for number in 1.. {
        let addr = Ipv4Addr::from(0x0A01_0000 + number);
        let mut command = redis::cmd("CLUSTER");
        command.arg("KEYSLOT").arg(key(addr));
        let slot: u16 = command.query_async(valkey).await.unwrap();
        let range = ranges
            .iter()
            .find(|range| (range.0..=range.1).contains(&slot));
        let port = range.unwrap().2;
        let shard = ports.iter().position(|&of| of == port).unwrap();
        let there = clients.iter().filter(|other| other.shard == shard).count();
        let kind = match there {
            ..MODEST => Kind::Modest,
            _ => Kind::Greedy,
        };
        if there < MODEST + GREEDY {
            clients.push(Client {
                addr,
                kind,
                shard,
                slot,
            });
        }
        if clients.len() == SHARDS * (MODEST + GREEDY) {
            break;
        }
    }
    clients
}

/// First slot, last slot and the port of the primary, from CLUSTER SLOTS.
pub(crate) async fn slots(valkey: &mut MultiplexedConnection) -> Vec<(u16, u16, u16)> {
    let mut command = redis::cmd("CLUSTER");
    let rows: Vec<Vec<Value>> = command.arg("SLOTS").query_async(valkey).await.unwrap();
    let number = |value: &Value| redis::from_redis_value_ref::<u16>(value).unwrap();
    let range = |row: &Vec<Value>| {
        let Value::Array(primary) = &row[2] else {
            panic!("{row:?}")
        };
        (number(&row[0]), number(&row[1]), number(&primary[1]))
    };
    rows.iter().map(range).collect()
}
