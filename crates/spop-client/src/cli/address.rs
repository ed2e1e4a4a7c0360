//! Where an agent listens. Parsing only: names are resolved when connecting.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name or an address (IPv6 in brackets) and a port.
    Tcp(String),
    /// The path of a socket.
    #[cfg(unix)]
    Unix(PathBuf),
}

/// An address that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("expected HOST:PORT, such as 127.0.0.1:9000 or [::1]:9000, or unix:PATH")]
    Shape,
    #[error("`{0}` is not a port (1 to 65535)")]
    Port(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(AddressError::Shape);
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Shape)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(AddressError::Shape);
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(AddressError::Port(port.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:9000", "[::1]:9000", "agent.example:1"] {
            assert_eq!(good.parse(), Ok(Address::Tcp(good.to_owned())));
        }
        #[cfg(unix)]
        assert_eq!(
            "unix:/run/agent:1.sock".parse(),
            Ok(Address::Unix("/run/agent:1.sock".into()))
        );
        for bad in ["", "localhost", ":9000", "::1:9000", "unix:"] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError::Shape), "{bad}");
        }
        for port in ["", "0", "65536", "http", "-1"] {
            assert_eq!(
                format!("localhost:{port}").parse::<Address>(),
                Err(AddressError::Port(port.to_owned()))
            );
        }
    }
}
