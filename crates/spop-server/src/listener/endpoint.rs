//! An address to listen on, as an operator writes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::TcpListener;

use super::{BoundListener, ListenError, UnixListener, activation};

/// Where to listen, in the spelling of HAProxy's own `bind` and `server` lines.
///
/// | text | listens on |
/// |---|---|
/// | `0.0.0.0:9000`, `[::]:9000` | TCP; port 0 for any that is free |
/// | `unix@/run/agent.sock`, `unix:/run/agent.sock`, `/run/agent.sock` | a Unix socket, mode 660 ([`UnixListener::bind`]) |
/// | `abns@agent` | a Unix socket in Linux's abstract namespace ([`UnixListener::bind_abstract`]) |
/// | `fd@3`, `fd@agent` | a socket that systemd passed, by number or by `FileDescriptorName=` |
///
/// ```
/// # use spop_server::{Endpoint, Router, ServeError, serve};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint: Endpoint = "127.0.0.1:0".parse()?;
/// let listener = endpoint.bind().await?;
/// println!("listening on {}", listener.endpoint());
/// let server = serve(listener, Router::new());
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A name in Linux's abstract namespace.
    Abstract(String),
    /// Number or name of a socket that this process was started with.
    Inherited(String),
}

impl Endpoint {
    /// Listens there.
    ///
    /// # Errors
    /// [`ListenError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(&self) -> Result<BoundListener, ListenError> {
        match self {
            Self::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(BoundListener::Tcp(listener)),
                Err(error) => Err(ListenError::io(self.clone(), error)),
            },
            Self::Unix(path) => UnixListener::bind(path).await.map(BoundListener::Unix),
            Self::Abstract(name) => UnixListener::bind_abstract(name).map(BoundListener::Unix),
            Self::Inherited(name) => activation::take(name),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refused = || EndpointError {
            text: text.to_owned(),
        };
        let (kind, rest) = text
            .strip_prefix("unix:")
            .map(|path| ("unix", path))
            .or_else(|| text.starts_with('/').then_some(("unix", text)))
            .or_else(|| text.split_once('@'))
            .unwrap_or(("", text));
        // A zero byte would end a path early, and pad a name.
        if rest.is_empty() || rest.contains('\0') {
            return Err(refused());
        }
        match kind {
            "unix" => Ok(Self::Unix(rest.into())),
            "abns" => Ok(Self::Abstract(rest.to_owned())),
            "fd" => Ok(Self::Inherited(rest.to_owned())),
            "" => rest.parse().map(Self::Tcp).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix@{}", path.display()),
            Self::Abstract(name) => write!(f, "abns@{name}"),
            Self::Inherited(name) => write!(f, "fd@{name}"),
        }
    }
}

/// A text that is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an address to listen on; expected one such as 127.0.0.1:9000, [::]:9000, \
     unix@/run/agent.sock, abns@agent or fd@3"
)]
pub struct EndpointError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read() {
        for (text, written) in [
            ("0.0.0.0:9000", "0.0.0.0:9000"),
            ("[::]:9000", "[::]:9000"),
            ("[fe80::1%2]:9000", "[fe80::1%2]:9000"),
            ("unix:/run/a.sock", "unix@/run/a.sock"),
            ("unix@/run/a.sock", "unix@/run/a.sock"),
            ("/run/a@b.sock", "unix@/run/a@b.sock"),
            ("unix:a@b.sock", "unix@a@b.sock"),
            ("abns@agent", "abns@agent"),
            ("fd@3", "fd@3"),
            ("fd@spop", "fd@spop"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_is_expected() {
        for text in [
            "",
            "9000",
            ":9000",
            "localhost:9000",
            "0.0.0.0",
            "0.0.0.0:65536",
            "::1:9000:",
            "unix:",
            "unix@",
            "abns@",
            "fd@",
            "udp@127.0.0.1:9000",
            "unix@a\0b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert_eq!(
            "localhost:9000"
                .parse::<Endpoint>()
                .unwrap_err()
                .to_string(),
            "`localhost:9000` is not an address to listen on; expected one such as \
             127.0.0.1:9000, [::]:9000, unix@/run/agent.sock, abns@agent or fd@3"
        );
    }
}
