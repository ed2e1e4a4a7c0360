//! Requests through a HAProxy: one turn of wrk, what it measured, and what HAProxy and its
//! agent spent on it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use spop_testkit::process::Process;
use spop_testkit::tools::Program;

use super::median;

/// Not logging, as what HAProxy is changed by: the lines would go through this process and
/// cost more than the question.
pub(super) const QUIET: (&str, &str) = ("log stdout", "");

/// What asks.
pub(super) struct Wrk<'a> {
    pub(super) program: &'a Program,
    /// Clients at once, each with one request after the other on its connection.
    pub(super) connections: u64,
    /// Whole seconds, as wrk counts.
    pub(super) seconds: u64,
}

/// What one turn came to.
pub(super) struct Turn {
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Processor µs per request.
    pub(super) haproxy_cpu: f64,
    pub(super) agent_cpu: f64,
    /// In percent of the requests.
    pub(super) undecided: f64,
}

impl Turn {
    /// Asks `url` for the time that `wrk` says. `started` gets wrk's process id.
    pub(super) async fn measure(
        wrk: &Wrk<'_>,
        url: &str,
        haproxy: &Process,
        agent: Option<&Process>,
        started: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Self> {
        let cpu = || -> Result<(Duration, Duration)> {
            let agent = match agent {
                Some(agent) => agent.cpu_time()?,
                None => Duration::ZERO,
            };
            Ok((haproxy.cpu_time()?, agent))
        };
        let before = cpu()?;
        let mut command = tokio::process::Command::from(wrk.program.command());
        command
            .args(["-t", "1", "--latency"])
            .args(["-c", &wrk.connections.to_string()])
            .args(["-d", &format!("{}s", wrk.seconds)])
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().context("wrk")?;
        if let Some(id) = child.id() {
            started(id)?;
        }
        let output = child.wait_with_output().await?;
        let after = cpu()?;
        let text = String::from_utf8(output.stdout)?;
        let Some(said) = Said::parse(&text) else {
            bail!("wrk said something else than usual:\n{text}");
        };
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / said.requests;
        Ok(Self {
            per_second: said.per_second,
            p50: said.p50,
            p99: said.p99,
            haproxy_cpu: per_request(after.0 - before.0),
            agent_cpu: per_request(after.1 - before.1),
            undecided: 100.0 * said.failed / said.requests,
        })
    }

    /// The heads of [`row`](Self::row).
    pub(super) const COLUMNS: [&str; 6] = [
        "requests/s",
        "p50 ms",
        "p99 ms",
        "HAProxy CPU µs/req",
        "agent CPU µs/req",
        "undecided %",
    ];

    /// Medians of several turns, with their ranges.
    pub(super) fn row(turns: &[Self]) -> [String; 6] {
        let column = |value: &dyn Fn(&Self) -> f64| median(turns.iter().map(value).collect());
        let undecided = column(&|turn| turn.undecided);
        let undecided = format!(
            "{:.3} [{:.3}–{:.3}]",
            undecided.middle, undecided.low, undecided.high
        );
        [
            column(&|turn| turn.per_second).to_string(),
            column(&|turn| turn.p50.as_secs_f64() * 1e3).to_string(),
            column(&|turn| turn.p99.as_secs_f64() * 1e3).to_string(),
            column(&|turn| turn.haproxy_cpu).to_string(),
            column(&|turn| turn.agent_cpu).to_string(),
            undecided,
        ]
    }
}

/// What wrk prints, as far as it is of use.
struct Said {
    requests: f64,
    per_second: f64,
    failed: f64,
    p50: Duration,
    p99: Duration,
}

impl Said {
    fn parse(text: &str) -> Option<Self> {
        let after = |label: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(label))?;
            line.split_whitespace().next()
        };
        let requests = text
            .lines()
            .find_map(|line| line.split_once(" requests in "))?
            .0;
        let failed = match after("Non-2xx or 3xx responses:") {
            Some(failed) => failed.parse().ok()?,
            None => 0.0,
        };
        Some(Self {
            requests: requests.trim().parse().ok()?,
            per_second: after("Requests/sec:")?.parse().ok()?,
            failed,
            p50: duration(after("50%")?).ok()?,
            p99: duration(after("99%")?).ok()?,
        })
    }
}

/// `650.00us`, `1.25ms`, `2.00s`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.trim_start_matches(digits) {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        other => bail!("what is {other:?}"),
    };
    let number: f64 = digits.parse().context("a time of wrk")?;
    Ok(Duration::try_from_secs_f64(number * unit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let said = Said::parse(
            "Running 3s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
             Latency Distribution\n     50%  650.00us\n     75%    1.00ms\n     99%    1.25ms\n  \
             98765 requests in 3.00s, 12.00MB read\n  Non-2xx or 3xx responses: 12\n\
             Requests/sec:  32921.67\nTransfer/sec:      4.00MB\n",
        )
        .unwrap();
        assert_eq!(
            (said.requests, said.per_second, said.failed),
            (98765.0, 32921.67, 12.0)
        );
        assert_eq!(said.p50, Duration::from_micros(650));
        assert_eq!(said.p99, Duration::from_micros(1250));
    }
}
