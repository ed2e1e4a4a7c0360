//! Where to listen: what an [`Endpoint`] says, or a host name, which is resolved later.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use spop_server::{Endpoint, UnixListener};
use tracing::warn;

/// Bytes of a path that HAProxy takes: where it listens itself it puts `.PID.tmp` behind it.
const HAPROXY_PATH: usize = 97;

/// `SPOE_ADDR`: `ADDRESS:PORT`, `HOST:PORT`, `unix@PATH`, `abns@NAME` or `fd@NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Known as it stands.
    At(Endpoint),
    /// A host name and a port, not yet resolved.
    Name(String),
}

impl Listen {
    /// Where a process of this host finds the agent: as [`Listen`], but for every address of
    /// the host its loopback address.
    ///
    /// # Errors
    /// What is missing, if the text does not say where that is: the address of a socket that
    /// was passed, the port that the system chose.
    pub fn from_this_host(&self) -> Result<Self, &'static str> {
        match self {
            Self::At(Endpoint::Inherited(_)) => Err("systemd knows where that socket listens"),
            _ if self.has_no_port() => Err("the system chose the port"),
            Self::At(Endpoint::Tcp(addr)) => {
                let mut addr = *addr;
                if addr.ip().is_unspecified() {
                    addr.set_ip(match addr {
                        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                    });
                }
                Ok(Self::At(Endpoint::Tcp(addr)))
            }
            Self::At(_) | Self::Name(_) => Ok(self.clone()),
        }
    }

    /// Whether the system is to choose the port, since it is 0.
    pub fn has_no_port(&self) -> bool {
        match self {
            Self::At(Endpoint::Tcp(addr)) => addr.port() == 0,
            Self::Name(name) => name.trim_end_matches('0').ends_with(':'),
            Self::At(_) => false,
        }
    }

    /// Whether HAProxy refuses it, since the path of a Unix socket has more than 97 bytes.
    pub fn is_too_long_for_haproxy(&self) -> bool {
        self.path_len() > HAPROXY_PATH
    }

    /// Says so. For other programs the agent may well listen there.
    pub fn warn_if_too_long_for_haproxy(&self) {
        if self.is_too_long_for_haproxy() {
            let len = self.path_len();
            warn!(
                "HAProxy will not connect to {self}: it takes paths of at most {HAPROXY_PATH} bytes, \
                 and this one has {len}"
            );
        }
    }

    /// 0 where there is no path.
    fn path_len(&self) -> usize {
        match self {
            Self::At(Endpoint::Unix(path)) => path.as_os_str().len(),
            Self::At(_) | Self::Name(_) => 0,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.contains(char::is_control) {
            return Err("it holds a control character");
        }
        if let Ok(endpoint) = text.parse() {
            let listen = Self::At(endpoint);
            if listen.path_len() > UnixListener::MAX_PATH {
                return Err("too long for the path of a Unix socket (107 bytes on Linux)");
            }
            return Ok(listen);
        }
        if text.contains('@') || text.starts_with("unix:") {
            return Err("neither unix@PATH, abns@NAME nor fd@NAME");
        }
        HostAndPort::from_str(text).map(|HostAndPort(name)| Self::Name(name))
    }
}

/// `ADDRESS:PORT` or `HOST:PORT`, not yet resolved. The host of a name has letters, digits,
/// `-`, `.` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAndPort(pub String);

impl FromStr for HostAndPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.parse::<SocketAddr>().is_err() {
            let (host, port) = text.rsplit_once(':').ok_or("no port")?;
            if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("the port is not a number");
            }
            port.parse::<u16>().map_err(|_| "the port is above 65535")?;
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || !host.bytes().all(allowed) {
                return Err("neither an address nor a host name before the port");
            }
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for (text, shown) in [
            ("0.0.0.0:9000", "0.0.0.0:9000"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:9000", "localhost:9000"),
            ("unix@/run/a b.sock", "unix@/run/a b.sock"),
            ("unix:/run/agent.sock", "unix@/run/agent.sock"),
            ("/run/agent.sock", "unix@/run/agent.sock"),
            ("abns@agent", "abns@agent"),
            ("fd@spop", "fd@spop"),
            ("fd@3", "fd@3"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), shown);
        }
        for bad in [
            "unix@",
            "unix:",
            "udp@a:1",
            "fd@",
            "unix@/a\nb",
            "abns@\u{7f}",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_as_long_as_the_system_and_haproxy_take() {
        let parsed = |len| format!("unix@/{}", "x".repeat(len - 1)).parse::<Listen>();
        for (len, too_long) in [(97, false), (98, true), (UnixListener::MAX_PATH, true)] {
            assert_eq!(parsed(len).unwrap().is_too_long_for_haproxy(), too_long);
        }
        let error = parsed(UnixListener::MAX_PATH + 1).unwrap_err();
        let limit = UnixListener::MAX_PATH.to_string();
        assert!(
            !cfg!(target_os = "linux") || error.contains(&limit),
            "{error}"
        );
    }

    #[test]
    fn the_way_there_from_this_host() {
        let from_here = |text: &str| {
            let listen: Listen = text.parse().unwrap();
            listen.from_this_host().map(|found| found.to_string())
        };
        for (listening, found) in [
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("192.0.2.1:9000", "192.0.2.1:9000"),
            ("agent.example:9000", "agent.example:9000"),
            ("unix@/run/agent.sock", "unix@/run/agent.sock"),
            ("abns@agent", "abns@agent"),
        ] {
            assert_eq!(from_here(listening).as_deref(), Ok(found));
        }
        for nowhere in ["fd@spop", "127.0.0.1:0", "localhost:0", "localhost:00"] {
            assert!(from_here(nowhere).is_err(), "{nowhere}");
        }
    }
}
