//! NOTIFYs straight to an agent, without HAProxy: one turn of `spop bench`, and what it
//! measured.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Connections, and NOTIFYs in flight on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) connections: u16,
    pub(super) window: u16,
}

impl Shape {
    pub(super) const fn new(connections: u16, window: u16) -> Self {
        Self {
            connections,
            window,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.connections, self.window)
    }
}

/// How an agent is asked.
pub(super) struct Asking<'a> {
    /// `spop`.
    pub(super) program: &'a Path,
    pub(super) agent: SocketAddr,
    /// The agent's process id.
    pub(super) process: u32,
    pub(super) shape: Shape,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
}

/// What one turn came to. Latency in µs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) per_second: f64,
    /// Processor µs per NOTIFY, user and system.
    pub(super) cpu: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    /// NOTIFYs, with those of the warm-up.
    pub(super) sent: f64,
}

impl Turn {
    /// One turn, from one thread. `further` are arguments of `spop bench`, such as what is in
    /// the message; `started` gets its process id.
    pub(super) async fn measure(
        asking: &Asking<'_>,
        further: &[&str],
        started: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Self> {
        let Asking { agent, shape, .. } = asking;
        let mut command = tokio::process::Command::new(asking.program);
        command
            .args(["bench", &agent.to_string(), "--json", "--threads", "1"])
            .args(["--connections", &shape.connections.to_string()])
            .args(["--window", &shape.window.to_string()])
            .args(["--warmup", &format!("{}ms", asking.warmup.as_millis())])
            .args(["--duration", &format!("{}ms", asking.duration.as_millis())])
            .args(["--pid", &asking.process.to_string()])
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().context("spop bench")?;
        if let Some(id) = child.id() {
            started(id)?;
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Self::parse(&serde_json::from_slice(&output.stdout)?)
            .context("`spop bench` measured nothing")
    }

    fn parse(summary: &serde_json::Value) -> Option<Self> {
        let number = |path: &str| summary.pointer(path)?.as_f64();
        Some(Self {
            per_second: number("/measured/notify_per_second")?,
            cpu: number("/measured/cpu/agent/us_per_notify")?,
            p50: number("/measured/latency_us/p50")?,
            p99: number("/measured/latency_us/p99")?,
            p999: number("/measured/latency_us/p999")?,
            sent: number("/sent")?,
        })
    }
}
