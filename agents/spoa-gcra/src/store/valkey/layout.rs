//! What a node says it is part of: asked, and read.

use std::fmt;
use std::ops::RangeInclusive;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, Value,
    from_redis_value,
};
use tokio::time::timeout;

use super::connector::{CONNECT, reason};

/// Hash slots of a cluster, from the cluster specification.
pub(super) const SLOTS: u16 = 16_384;

/// What a node is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// One server, which has all slots.
    Standalone,
    /// A cluster, and who serves what in it.
    Cluster(Vec<Assignment>),
}

/// A range of slots and the primary that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) primary: Address,
}

/// How much a node's word on the cluster counts: of two, the larger one's. A node that was
/// cut off from the others knows that ("not ok"), unless it was stopped; then it has missed
/// an epoch: they count up with each change of who owns slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Standing {
    pub(super) ok: bool,
    pub(super) epoch: u64,
}

/// Asks one node what it is part of, over the connection that there is to it, or else over
/// one of its own.
///
/// # Errors
/// Why there is no usable answer, as text.
pub(super) async fn ask(
    info: &ConnectionInfo,
    connection: Option<MultiplexedConnection>,
) -> Result<(Layout, Standing), String> {
    let exchange = async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => connect(info).await.map_err(|error| reason(&error))?,
        };
        // A lane waits for its answers no longer than the budget; this is in no such hurry.
        connection.set_response_timeout(CONNECT);
        told(connection, info).await
    };
    timeout(CONNECT, exchange)
        .await
        .unwrap_or_else(|_elapsed| Err("no answer".into()))
}

async fn connect(info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT));
    Client::open(info.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// What the node at the other end of this connection, which is to `info`, is part of.
///
/// # Errors
/// As [`ask`]'s.
pub(super) async fn told(
    connection: MultiplexedConnection,
    info: &ConnectionInfo,
) -> Result<(Layout, Standing), String> {
    let replies = exchange(connection).await.map_err(|error| reason(&error));
    let [info_cluster, cluster_info, slots] = replies?;
    if let Value::ServerError(error) = &info_cluster {
        return Err(format!("answered {} to INFO", error.code()));
    }
    let text: String = from_redis_value(info_cluster).map_err(|error| error.to_string())?;
    if !text.lines().any(|line| line == "cluster_enabled:1") {
        return Ok((Layout::Standalone, Standing::default()));
    }
    if let Value::ServerError(error) = &slots {
        return Err(format!("answered {} to CLUSTER SLOTS", error.code()));
    }
    match read(slots, host_of(info)) {
        Some(rows) if !rows.is_empty() => Ok((Layout::Cluster(rows), standing(cluster_info))),
        _ => Err("tells no hash slots".into()),
    }
}

/// The replies to `INFO cluster`, `CLUSTER INFO` and `CLUSTER SLOTS`. Each may be an error; a
/// server without a cluster has nothing to say but to the first.
async fn exchange(mut connection: MultiplexedConnection) -> Result<[Value; 3], RedisError> {
    let mut questions = Pipeline::with_capacity(3);
    questions.cmd("INFO").arg("cluster");
    questions.cmd("CLUSTER").arg("INFO");
    questions.cmd("CLUSTER").arg("SLOTS");
    let mut replies = connection
        .send_packed_commands(&questions, 0, questions.len())
        .await?
        .into_iter();
    let mut reply = || replies.next().unwrap_or(Value::Nil);
    Ok([reply(), reply(), reply()])
}

/// Reads the reply to `CLUSTER INFO`. Users without the right to ask give every node the
/// same standing.
fn standing(reply: Value) -> Standing {
    let text: String = match reply {
        Value::ServerError(_) => String::new(),
        reply => from_redis_value(reply).unwrap_or_default(),
    };
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    Standing {
        ok: field("cluster_state:").is_none_or(|state| state == "ok"),
        epoch: field("cluster_current_epoch:")
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or(0),
    }
}

/// Reads the reply of the node at host `asked` to `CLUSTER SLOTS`: rows of first slot, last
/// slot, primary, replicas, where a node is host, port and more. `None`: not such a reply.
fn read(reply: Value, asked: &str) -> Option<Vec<Assignment>> {
    let rows: Vec<Vec<Value>> = from_redis_value(reply).ok()?;
    rows.into_iter()
        .map(|row| {
            let mut row = row.into_iter();
            let (first, last) = (number(row.next()?)?, number(row.next()?)?);
            if first > last || last >= SLOTS {
                return None;
            }
            let node: Vec<Value> = from_redis_value(row.next()?).ok()?;
            let mut node = node.into_iter();
            let host: Option<String> = from_redis_value(node.next()?).ok()?;
            let port = number(node.next()?)?;
            Some(Assignment {
                slots: first..=last,
                primary: Address::new(known(host.as_deref().unwrap_or(""), asked), port),
            })
        })
        .collect()
}

/// redis-rs would cut a number that is too large.
fn number(value: Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(number).ok(),
        _ => None,
    }
}

/// Where a node listens, as the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads the `host:port` of a redirection. An IPv6 host stands without brackets; a host
    /// that the cluster does not know is left out and means the host that was asked.
    pub(super) fn parse(text: &str, asked: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::new(known(host, asked), port.parse().ok()?))
    }

    /// How to connect to it: as to the node that named it, with the same credentials.
    pub(super) fn connection_info(&self, named_by: &ConnectionInfo) -> ConnectionInfo {
        let (host, port) = (self.host.clone(), self.port);
        let addr = match named_by.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        named_by.clone().set_addr(addr)
    }
}

/// The same text as [`ConnectionAddr`]'s, so that either names a node.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The host by which this node is reached; empty for a Unix socket.
pub(super) fn host_of(info: &ConnectionInfo) -> &str {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

/// The host to use for one that a node advertises: an empty or unknown one (`?`) is the
/// host that was asked.
fn known<'a>(host: &'a str, asked: &'a str) -> &'a str {
    match host {
        "" | "?" => asked,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn rows(wire: &str) -> Option<Vec<Assignment>> {
        read(parse_redis_value(wire.as_bytes()).unwrap(), "10.0.0.9")
    }

    fn row(first: &str, last: &str, host: &str, port: &str) -> String {
        format!(
            "*1\r\n*4\r\n:{first}\r\n:{last}\r\n\
             *4\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n*0\r\n\
             *3\r\n$8\r\n10.0.0.8\r\n:6379\r\n$2\r\nid\r\n"
        )
    }

    #[test]
    fn a_row_is_a_range_and_its_primary() {
        let read = rows(&row("0", "5460", "$8\r\n10.0.0.1", "6380")).unwrap();
        assert_eq!(
            read,
            [Assignment {
                slots: 0..=5460,
                primary: Address::new("10.0.0.1", 6380),
            }]
        );
        assert_eq!(rows("*0\r\n"), Some(Vec::new()));
    }

    #[test]
    fn an_unknown_host_is_the_one_that_was_asked() {
        for host in ["$0\r\n", "$-1", "$1\r\n?"] {
            let read = rows(&row("0", "16383", host, "6380")).unwrap();
            assert_eq!(read[0].primary, Address::new("10.0.0.9", 6380), "{host:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_whole() {
        let host = "$8\r\n10.0.0.1";
        for wire in [
            row("0", "16384", host, "6380"),
            row("7", "3", host, "6380"),
            row("-1", "3", host, "6380"),
            row("0", "3", host, "65536"),
            row("0", "3", "*0", "6380"),
            "*1\r\n*2\r\n:0\r\n:1\r\n".into(),
            "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n".into(),
            "*1\r\n:0\r\n".into(),
            "+OK\r\n".into(),
        ] {
            assert_eq!(rows(&wire), None, "{wire:?}");
        }
    }

    #[test]
    fn whoever_has_seen_more_counts_more() {
        let standing = |wire: &str| standing(parse_redis_value(wire.as_bytes()).unwrap());
        let says = |state, epoch| {
            let text = format!(
                "cluster_state:{state}\r\ncluster_slots_assigned:16384\r\n\
                 cluster_current_epoch:{epoch}\r\ncluster_my_epoch:1\r\n"
            );
            standing(&format!("${}\r\n{text}\r\n", text.len()))
        };
        assert_eq!(says("ok", 7), Standing { ok: true, epoch: 7 });
        assert!(says("ok", 8) > says("ok", 7));
        assert!(says("ok", 7) > says("fail", 8));
        // No right to ask; then all are alike.
        let silent = standing("-NOPERM no permissions to run 'cluster|info'\r\n");
        assert_eq!(silent, Standing { ok: true, epoch: 0 });
    }

    #[test]
    fn credentials_carry_over_to_nodes_that_are_named() {
        let seed: ConnectionInfo = "redis://ann:secret@127.0.0.1:7000/3".parse().unwrap();
        let info = Address::new("::1", 7001).connection_info(&seed);
        assert_eq!(info.addr(), &ConnectionAddr::Tcp("::1".into(), 7001));
        assert_eq!(
            info.addr().to_string(),
            Address::new("::1", 7001).to_string()
        );
        assert_eq!(info.redis_settings().username(), Some("ann"));
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert_eq!(info.redis_settings().db(), 3);
        assert_eq!(host_of(&info), "::1");
    }
}
