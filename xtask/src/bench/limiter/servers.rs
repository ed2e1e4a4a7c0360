//! Valkey servers: where they run, and what they say of themselves.

use anyhow::{Context as _, Result};
use spop_testkit::valkey::Server;

use super::Bench;

/// What servers have done so far, all of them together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    /// Runs of a script.
    pub(super) decisions: f64,
    /// Processor µs, user and system.
    pub(super) cpu: f64,
}

impl Done {
    pub(super) async fn by(servers: &[Server]) -> Result<Self> {
        let mut done = Self::default();
        for server in servers {
            let info = info(server).await?;
            let seconds = |field| number(&info, field);
            done.cpu += 1e6 * (seconds("used_cpu_user:")? + seconds("used_cpu_sys:")?);
            for command in ["evalsha", "eval", "fcall"] {
                // Not there before the first call.
                let calls = number(&info, &format!("cmdstat_{command}:calls="));
                done.decisions += calls.unwrap_or_default();
            }
        }
        Ok(done)
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            decisions: self.decisions - earlier.decisions,
            cpu: self.cpu - earlier.cpu,
        }
    }

    /// Processor µs for each decision.
    pub(super) fn cpu_each(self) -> f64 {
        self.cpu / self.decisions
    }
}

/// A server where servers run.
pub(super) async fn start(bench: &Bench) -> Result<Server> {
    let server = Server::start().await?;
    pin(bench, &server).await?;
    Ok(server)
}

pub(super) async fn pin(bench: &Bench, server: &Server) -> Result<()> {
    let process = number(&info(server).await?, "process_id:")?;
    bench.pin_server(process as u32)
}

/// Such as `Valkey 8.1.1`.
pub(super) async fn version(server: &Server) -> Result<String> {
    let info = info(server).await?;
    let version = field(&info, "valkey_version:").context("this is no Valkey")?;
    Ok(format!("Valkey {version}"))
}

/// Bytes that its data takes, and what it needs to keep it.
pub(super) async fn used_memory(server: &Server) -> Result<f64> {
    number(&info(server).await?, "used_memory:")
}

async fn info(server: &Server) -> Result<String> {
    let sections = ["info", "server", "cpu", "memory", "commandstats"];
    server.cli(&sections).await
}

fn number(info: &str, name: &str) -> Result<f64> {
    let value = field(info, name).with_context(|| format!("INFO has no {name}"))?;
    let number = value.split(',').next().unwrap_or_default();
    number.parse().with_context(|| format!("{name} {value}"))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = "# CPU\r\nused_cpu_sys:0.5\r\n\
                    cmdstat_evalsha:calls=30,usec=90,usec_per_call=3.00\r\n";
        assert_eq!(number(info, "used_cpu_sys:").unwrap(), 0.5);
        assert_eq!(number(info, "cmdstat_evalsha:calls=").unwrap(), 30.0);
        assert!(number(info, "used_memory:").is_err());
    }
}
