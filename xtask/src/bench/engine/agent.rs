//! The agents that are compared: what each is, and a running one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use spop_testkit::process::{Process, Signal};
use spop_testkit::tools::Program;

/// An agent listens within 50 ms; the rest is for a loaded machine, and for valgrind.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which agent. The sources of all are in `crates/spop-server/benches/engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(in crate::bench) enum Kind {
    Minimal,
    MinimalAsync,
    Spop,
    SpopNodelay,
    Ceiling,
}

impl Kind {
    pub(in crate::bench) const ALL: [Self; 5] = [
        Self::Minimal,
        Self::MinimalAsync,
        Self::Spop,
        Self::SpopNodelay,
        Self::Ceiling,
    ];

    pub(in crate::bench) const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::MinimalAsync => "minimal-async",
            Self::Spop => "spop",
            Self::SpopNodelay => "spop-nodelay",
            Self::Ceiling => "ceiling",
        }
    }

    /// In a few words, for who reads the tables.
    pub(in crate::bench) const fn what(self) -> &'static str {
        match self {
            Self::Minimal => "spop-server, the handler a function of the borrowed request",
            Self::MinimalAsync => "spop-server, the handler an async function",
            Self::Spop => "crate `spop` 0.13, written like its example",
            Self::SpopNodelay => "the same with TCP_NODELAY, which the example does not set",
            Self::Ceiling => "tokio alone: reads frame headers, copies the ids, one write a read",
        }
    }

    pub(in crate::bench) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Minimal => &["minimal"],
            Self::MinimalAsync => &["minimal-async"],
            Self::Spop => &["spop"],
            Self::SpopNodelay => &["spop", "--nodelay"],
            Self::Ceiling => &["ceiling"],
        }
    }
}

/// A running agent, ended when dropped.
pub(in crate::bench) struct Agent {
    pub(in crate::bench) kind: Kind,
    pub(in crate::bench) process: Process,
    pub(in crate::bench) addr: SocketAddr,
}

impl Agent {
    pub(in crate::bench) async fn start(kind: Kind, binary: &Path) -> Result<Self> {
        Self::start_under(None, kind, binary).await
    }

    /// Starts it as an argument of another program, such as valgrind with its own arguments.
    pub(in crate::bench) async fn start_under(
        outer: Option<(&str, &[&str])>,
        kind: Kind,
        binary: &Path,
    ) -> Result<Self> {
        let program = match outer {
            Some((program, _)) => Program::at(program),
            None => Program::at(binary),
        };
        let process = Process::spawn(kind.name(), &program, |command| {
            if let Some((_, arguments)) = outer {
                command.args(arguments).arg(binary);
            }
            command.args(kind.arguments());
        })?;
        let line = process.line("listening on ", PATIENCE).await?;
        let (_, addr) = line.split_once("listening on ").unwrap_or_default();
        let addr = addr
            .parse()
            .with_context(|| format!("{} listens on {addr:?}", kind.name()))?;
        Ok(Self {
            kind,
            process,
            addr,
        })
    }

    /// Ends it in an orderly way, and returns all that it said.
    pub(in crate::bench) async fn end(self) -> Result<String> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(PATIENCE).await?;
        Ok(self.process.log().join("\n"))
    }
}
