//! What the options accept. Whatever ends up in HAProxy's files is checked to be one word that
//! HAProxy takes as it stands.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use spoa_process::Listen;
use spop_server::Endpoint;

/// A version of HAProxy: its first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32);

impl Version {
    /// The first whose SPOE engine is a multiplexer, with a `mode` of its own.
    pub(super) const MODE_SPOP: Self = Self(3, 1);

    const KNOWN: [Self; 9] = [
        Self(2, 6),
        Self(2, 7),
        Self(2, 8),
        Self(2, 9),
        Self(3, 0),
        Self(3, 1),
        Self(3, 2),
        Self(3, 3),
        Self(3, 4),
    ];
}

impl FromStr for Version {
    type Err = &'static str;

    /// As `haproxy -v` has it, too: `2.6.12-1+deb12u4`, or that whole line.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let line = text.split_once("version ");
        let word = line.and_then(|(_, version)| version.split(' ').next());
        let mut numbers = word.unwrap_or(text).split(['.', '-']).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err("not a version; accepted: 2.6 to 3.4");
        };
        let version = Self(major, minor);
        if !Self::KNOWN.contains(&version) {
            return Err("not a version that is known; accepted: 2.6 to 3.4, or none at all");
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where HAProxy finds an agent or another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent(String);

impl FromStr for Agent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let listen: Listen = text.parse()?;
        if matches!(listen, Listen::At(Endpoint::Inherited(_))) {
            return Err("only systemd knows where that is");
        }
        spelled(&listen.from_this_host()?).map(Self)
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where HAProxy listens: in its own spelling, an address may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind(String);

impl FromStr for Bind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut every = [":::", "*:", ":"].iter();
        if let Some(port) = every.find_map(|every| text.strip_prefix(every)) {
            let number: Option<u16> = port.parse().ok();
            number.filter(|number| *number > 0).ok_or(NO_PORT)?;
            return word(text.to_owned()).map(Self);
        }
        spelled(&text.parse()?).map(Self)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As HAProxy reads it.
fn spelled(listen: &Listen) -> Result<String, &'static str> {
    match listen {
        Listen::At(Endpoint::Tcp(SocketAddr::V6(addr))) if addr.scope_id() != 0 => {
            return Err("HAProxy takes no address with a scope, %…");
        }
        _ if listen.has_no_port() => return Err(NO_PORT),
        _ if listen.is_too_long_for_haproxy() => {
            return Err("HAProxy takes paths of at most 97 bytes");
        }
        Listen::At(Endpoint::Inherited(name)) if name.parse::<u16>().is_err() => {
            return Err("HAProxy takes descriptors by their number, such as fd@3");
        }
        Listen::At(_) | Listen::Name(_) => {}
    }
    word(listen.to_string())
}

/// What HAProxy calls the agent's variables by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // With scope and name, HAProxy takes 63 bytes.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=32).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err("accepted: 1 to 32 letters, digits or _");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `NAME=/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathOf {
    pub(super) name: String,
    pub(super) path: String,
}

impl FromStr for PathOf {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or("no = between name and path")?;
        if !path.starts_with('/') || !path.bytes().all(is_plain) {
            return Err(
                "accepted after the =: / and then letters, digits, /, -, _, ., ~, :, @ or %",
            );
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for PathOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.path)
    }
}

const NO_PORT: &str = "no port from 1 to 65535";

/// Only with nothing that separates words, quotes, comments or names an environment variable.
fn word(text: String) -> Result<String, &'static str> {
    let allowed = |byte: u8| is_plain(byte) || b"[]*".contains(&byte);
    match text.bytes().all(allowed) {
        true => Ok(text),
        false => Err("it holds a character that HAProxy would not take as it stands"),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-_.~:@%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, shown) in [
            ("2.6", "2.6"),
            ("2.6.12-1+deb12u4", "2.6"),
            ("3.4-dev3", "3.4"),
            (
                "HAProxy version 3.2.26-1 2026/10/14 - https://haproxy.org/",
                "3.2",
            ),
        ] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), shown);
        }
        for bad in [
            "", "3", "3.x", "2.5", "2.10", "3.5", "4.0", "v3.2", "version ",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert!("3.0".parse::<Version>().unwrap() < Version::MODE_SPOP);
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("192.0.2.1:9000", "192.0.2.1:9000"),
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[2001:db8::1]:9000", "[2001:db8::1]:9000"),
            ("agent-1.example:9000", "agent-1.example:9000"),
            ("unix@/run/a.sock", "unix@/run/a.sock"),
            ("abns@agent", "abns@agent"),
        ] {
            assert_eq!(text.parse::<Agent>().unwrap().to_string(), shown);
        }
        for bad in [
            "agent",
            "a:0",
            "a:00",
            "fd@spop",
            "fd@3",
            "[::1%2]:9000",
            "unix@/a b",
            "a\n:1",
            "a$b:1",
            "",
        ] {
            assert!(bad.parse::<Agent>().is_err(), "{bad}");
        }
        for (text, shown) in [
            (":80", ":80"),
            ("*:80", "*:80"),
            (":::80", ":::80"),
            ("[::]:80", "[::]:80"),
            ("0.0.0.0:8080", "0.0.0.0:8080"),
            ("web.example:80", "web.example:80"),
            ("unix@/run/http", "unix@/run/http"),
            ("unix:/run/http", "unix@/run/http"),
            ("/run/http", "unix@/run/http"),
            ("fd@3", "fd@3"),
        ] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), shown);
        }
        for bad in [
            ":",
            ":0",
            ":::0",
            ":+1",
            ":70000",
            "80",
            ":80 ssl",
            "*:80,:81",
            "127.0.0.1:0",
            "localhost:0",
            "localhost:00",
            "[fe80::1%2]:80",
            "fd@http",
            "fd@-1",
            "fd@+3",
            "",
        ] {
            assert!(bad.parse::<Bind>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_and_paths() {
        assert!("rate_limit2".parse::<Prefix>().is_ok());
        for bad in ["", "a.b", "a-b", "a b", &"a".repeat(33)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
        let path: PathOf = "check-login=/login/".parse().unwrap();
        assert_eq!((&*path.name, &*path.path), ("check-login", "/login/"));
        for bad in [
            "check-login",
            "a=login",
            "a=/x }",
            "a=/$HOME",
            "a=/x#",
            "a=",
        ] {
            assert!(bad.parse::<PathOf>().is_err(), "{bad}");
        }
    }
}
