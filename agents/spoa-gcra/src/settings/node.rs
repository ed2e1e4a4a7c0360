//! The Valkey servers of `VALKEY_NODES`: URLs, or host and port alone.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, parse_redis_url};

/// A Valkey server: how to connect to it. Its text form has no user name and no password.
#[derive(Debug, Clone)]
pub struct ValkeyNode {
    /// Address and credentials for the client.
    pub info: ConnectionInfo,
}

/// A text that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNode {
    /// `#insecure`: TLS without a look at the server's certificate.
    #[error("#insecure would trust anybody; name who vouches for the server in VALKEY_CA_FILE")]
    Insecure,
    /// One with TLS beside one without: which of them tells of the other nodes of a cluster
    /// would decide whether those are spoken to in the clear.
    #[error("other servers are {0}; give all of them with TLS, or none")]
    Mixed(&'static str),
    /// A scheme other than `redis`, `valkey` and their TLS forms.
    #[error("unknown scheme {0:?}")]
    Scheme(String),
    /// A list without any: made from variables that are empty, most likely. Not taken for an
    /// empty one, since agents that were to share a limit would have one each.
    #[error("no server is named; leave it empty to keep the state in this process")]
    Nobody,
    /// Port 0.
    #[error("there is no port 0")]
    Port,
    /// Neither a URL nor a host with or without a port.
    #[error("not a server's address")]
    Address,
    /// An address that the client library does not take, in its words.
    #[error("the client refuses it: {0}")]
    Client(String),
}

impl FromStr for ValkeyNode {
    type Err = BadNode;

    fn from_str(text: &str) -> Result<Self, BadNode> {
        let url = match split_scheme(text) {
            None => format!("redis://{text}"),
            Some(("redis" | "valkey" | "rediss" | "valkeys", _)) => text.to_owned(),
            Some((scheme, _)) => return Err(BadNode::Scheme(scheme.to_owned())),
        };
        if parse_redis_url(&url).is_none() {
            return Err(BadNode::Address);
        }
        let info = url
            .into_connection_info()
            .map_err(|error| BadNode::Client(error.to_string()))?;
        match info.addr() {
            ConnectionAddr::Tcp(_, 0) | ConnectionAddr::TcpTls { port: 0, .. } => {
                Err(BadNode::Port)
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => Err(BadNode::Insecure),
            _ => Ok(Self { info }),
        }
    }
}

impl ValkeyNode {
    /// Whether it is spoken to by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }
}

/// Scheme and rest, if what stands before `://` can be a scheme at all.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.split_once("://")
        .filter(|(scheme, _)| scheme.bytes().all(allowed))
}

impl fmt::Display for ValkeyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => write_server(f, "valkey", host, *port),
            ConnectionAddr::TcpTls { host, port, .. } => write_server(f, "valkeys", host, *port),
            other => other.fmt(f),
        }
    }
}

fn write_server(f: &mut fmt::Formatter<'_>, scheme: &str, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "{scheme}://[{host}]:{port}")
    } else {
        write!(f, "{scheme}://{host}:{port}")
    }
}

/// The servers of a comma-separated list; blank entries do not count. An empty list has none.
///
/// # Errors
/// The first bad entry, as it may be shown to others.
pub(super) fn parse_list(list: &str) -> Result<Vec<ValkeyNode>, (String, BadNode)> {
    let entries = list.split(',').map(str::trim);
    let mut nodes: Vec<ValkeyNode> = Vec::new();
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let refused = |error| (shown(entry, list), error);
        let node: ValkeyNode = entry.parse().map_err(refused)?;
        match nodes.first().map(ValkeyNode::is_tls) {
            Some(true) if !node.is_tls() => return Err(refused(BadNode::Mixed("valkeys://"))),
            Some(false) if node.is_tls() => return Err(refused(BadNode::Mixed("valkey://"))),
            _ => nodes.push(node),
        }
    }
    if nodes.is_empty() && !list.is_empty() {
        return Err((list.to_owned(), BadNode::Nobody));
    }
    Ok(nodes)
}

/// The entry with `***` for its credentials, and for all of it if it may be a part of some:
/// a comma in a password (to be written `%2C`) splits its URL in two.
fn shown(entry: &str, list: &str) -> String {
    let (scheme, rest) = match split_scheme(entry) {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), entry),
    };
    match rest.rsplit_once('@') {
        Some((_, server)) => format!("{scheme}***@{server}"),
        None if list.contains('@') => format!("{scheme}***"),
        None => entry.to_owned(),
    }
}
