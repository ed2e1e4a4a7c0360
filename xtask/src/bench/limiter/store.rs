//! The store's own client without an agent around it: a turn of the program of
//! `agents/spoa-gcra/benches/limiter`.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::Bench;

/// Checks at once, as many as with the agent.
pub(super) const IN_FLIGHT: u32 = super::MANY.connections as u32 * super::MANY.window as u32;

/// What one turn came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) per_second: f64,
    /// Processor µs per decision, the asking included.
    pub(super) cpu: f64,
    /// Checks, with those of the warm-up.
    pub(super) asked: f64,
}

impl Turn {
    /// One turn on the servers at these URLs.
    pub(super) async fn measure(bench: &Bench, urls: &str, further: &[&str]) -> Result<Self> {
        let (in_flight, clients) = (IN_FLIGHT.to_string(), super::CLIENTS.to_string());
        let warmup = bench.warmup.as_millis().to_string();
        let duration = bench.turn.as_millis().to_string();
        let mut arguments = vec!["store", "--nodes", urls];
        arguments.extend(["--in-flight", &in_flight, "--clients", &clients]);
        arguments.extend(["--warmup", &warmup, "--duration", &duration]);
        arguments.extend(further);
        let said = run(bench, &arguments).await?;
        let number = |name| figure(&said, name);
        Ok(Self {
            per_second: number("per_second")?,
            cpu: number("cpu_us")?,
            asked: number("asked")?,
        })
    }
}

/// Runs the program where load is made, and returns the JSON object that it prints.
pub(super) async fn run(bench: &Bench, arguments: &[&str]) -> Result<serde_json::Value> {
    let child = tokio::process::Command::new(&bench.limiter)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("benches/limiter")?;
    if let Some(id) = child.id() {
        bench.pin_load(id)?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A number of that object.
pub(super) fn figure(said: &serde_json::Value, name: &str) -> Result<f64> {
    let number = said.get(name).and_then(serde_json::Value::as_f64);
    number.with_context(|| format!("benches/limiter says no {name}"))
}
