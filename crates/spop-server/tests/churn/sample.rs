//! What the agent's process holds at a moment, and whether that grows.

use std::fmt;
use std::fs;
use std::time::Duration;

use spop_client::spop_codec::Status;
use spop_client::{Client, Connection, haproxy_hello};
use tokio::time::Instant;

use crate::PATIENCE;
use crate::agent::Agent;
use crate::support::variables;

#[derive(Debug)]
pub(crate) struct Sample {
    at: Duration,
    rss_kib: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
    pub(crate) tasks: u64,
    pub(crate) counts: Counts,
}

/// What the agent's observer was told.
#[derive(Debug)]
pub(crate) struct Counts {
    accepted: u64,
    closed: u64,
    received: u64,
    answered: u64,
    lost: u64,
}

impl Counts {
    /// Whether all NOTIFYs and connections have ended, but the one that asks.
    pub(crate) const fn agree(&self) -> bool {
        self.received == self.answered + self.lost + 1 && self.accepted == self.closed + 1
    }
}

impl Sample {
    pub(crate) const HEAD: &str =
        "seconds   RSS KiB  fds  tasks  threads  connections  NOTIFYs answered";

    /// Asks the agent, over a connection that is counted as well, and the kernel.
    pub(crate) async fn of(agent: &Agent) -> Self {
        let connection = Connection::connect(agent.address(), Some(PATIENCE)).await;
        let client = Client::over(connection.unwrap(), haproxy_hello()).await;
        let mut client = client.unwrap();
        let told = variables(&client.notify("stats", []).await.unwrap());
        let count = |name: &str| told[&format!("txn.{name}")].parse().unwrap();
        let proc = format!("/proc/{}", agent.id());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        let sample = Self {
            at: START.with(Instant::elapsed),
            rss_kib: field(&status, "VmRSS:"),
            threads: field(&status, "Threads:"),
            descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            tasks: count("tasks"),
            counts: Counts {
                accepted: count("accepted"),
                closed: count("closed"),
                received: count("received"),
                answered: count("answered"),
                lost: count("lost"),
            },
        };
        client.disconnect(Status::NORMAL).await.unwrap();
        client.closed().await.unwrap();
        sample
    }
}

thread_local! {
    /// The test's begin: its thread takes all samples.
    static START: Instant = Instant::now();
}

/// The number behind `name` in a file of /proc.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:7.0} {:9} {:4} {:6} {:8} {:12} {:17}",
            self.at.as_secs_f64(),
            self.rss_kib,
            self.descriptors,
            self.tasks,
            self.threads,
            self.counts.accepted,
            self.counts.answered,
        )
    }
}

/// The last quarter against the second: in the first one the allocator's pools still fill.
pub(crate) fn check_memory(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let mean = |samples: &[Sample]| {
        samples.iter().map(|sample| sample.rss_kib).sum::<u64>() / quarter as u64
    };
    let before = mean(&samples[quarter..2 * quarter]);
    let after = mean(&samples[3 * quarter..]);
    println!("mean RSS of the second quarter {before} KiB, of the last {after} KiB");
    let most = before + before * 15 / 100 + 4096;
    assert!(after <= most, "{after} KiB, more than {most} KiB");
}
