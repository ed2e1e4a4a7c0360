//! The demo's client: sends requests, a burst or a stream, and counts what becomes of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use spop_client::spop_codec::{Ack, Action, TypedData};
use spop_testkit::http::{Client, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The way that a request takes.
#[derive(Clone)]
pub(crate) struct Path(Kind);

#[derive(Clone)]
enum Kind {
    Haproxy {
        client: Client,
        url: String,
    },
    /// One question at a time; the others wait for their turn.
    Agent(Arc<tokio::sync::Mutex<spop_client::Client<TcpStream>>>),
}

impl Path {
    /// An HTTP request to HAProxy.
    pub(crate) fn through_haproxy(client: Client, url: String) -> Self {
        Self(Kind::Haproxy { client, url })
    }

    /// A question to the agent, as HAProxy asks it.
    pub(crate) async fn to_the_agent(addr: SocketAddr) -> Result<Self> {
        let client = spop_client::Client::connect(addr).await?;
        Ok(Self(Kind::Agent(Arc::new(client.into()))))
    }

    async fn send(&self) -> Outcome {
        match &self.0 {
            Kind::Haproxy { client, url } => {
                let answer = client.get(url).send().await;
                answer.map_or(Outcome::Other, Outcome::of_response)
            }
            Kind::Agent(client) => {
                let source = ("ip_src", TypedData::Ipv4(Ipv4Addr::LOCALHOST));
                let answer = client.lock().await.notify("check-rate", [source]).await;
                answer.map_or(Outcome::Other, |ack| Outcome::of_ack(&ack))
            }
        }
    }
}

/// What became of a request.
enum Outcome {
    Allowed,
    /// With the answer's head, to show one.
    Denied(Option<String>),
    /// It passed because no decision came in time.
    Undecided,
    Other,
}

impl Outcome {
    /// As the rule in haproxy.cfg has it.
    fn of_ack(ack: &Ack) -> Self {
        let score = ack.actions().find_map(|action| match action {
            Action::SetVar { name, value, .. } if name == "ip_score" => value.to_i64(),
            _ => None,
        });
        match score {
            None => Self::Undecided,
            Some(..80) => Self::Allowed,
            Some(_) => Self::Denied(None),
        }
    }

    fn of_response(response: Response) -> Self {
        match response.status {
            // Every answer that the agent decided carries what the client has left.
            200 if response.header("ratelimit").is_some() => Self::Allowed,
            200 => Self::Undecided,
            429 => Self::Denied(Some(head(&response))),
            _ => Self::Other,
        }
    }
}

fn head(response: &Response) -> String {
    let mut head = format!("  HTTP/1.1 {} Too Many Requests", response.status);
    for (name, value) in &response.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(head, "\n  {name}: {value}");
    }
    head
}

/// Counts of outcomes, and how long each took.
#[derive(Default, Clone)]
pub(crate) struct Tally {
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    pub(crate) undecided: u64,
    pub(crate) other: u64,
    /// The head of one 429 answer.
    pub(crate) refusal: Option<String>,
    latencies: Vec<Duration>,
}

impl Tally {
    pub(crate) fn requests(&self) -> u64 {
        self.allowed + self.denied + self.undecided + self.other
    }

    /// The latency that `percent` of the requests did not exceed; None without requests.
    pub(crate) fn latency(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    fn count(&mut self, outcome: Outcome, latency: Duration) {
        match outcome {
            Outcome::Allowed => self.allowed += 1,
            Outcome::Denied(head) => {
                self.denied += 1;
                self.refusal = self.refusal.take().or(head);
            }
            Outcome::Undecided => self.undecided += 1,
            Outcome::Other => self.other += 1,
        }
        self.latencies.push(latency);
    }

    fn add(&mut self, more: &Self) {
        self.allowed += more.allowed;
        self.denied += more.denied;
        self.undecided += more.undecided;
        self.other += more.other;
        self.refusal = self.refusal.take().or_else(|| more.refusal.clone());
        self.latencies.extend(&more.latencies);
    }
}

/// One client at work.
pub(crate) struct Load {
    path: Path,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// Since the last [`Load::take`].
    current: Tally,
    /// Before that.
    before: Tally,
}

impl Load {
    pub(crate) fn new(path: Path) -> Self {
        Self {
            path,
            counts: Arc::default(),
        }
    }

    /// Sends `count` requests at once and waits for all answers.
    pub(crate) async fn burst(&self, count: u32) {
        let mut requests = JoinSet::new();
        for _ in 0..count {
            self.spawn(&mut requests);
        }
        requests.join_all().await;
    }

    /// Sends `rate` requests a second for `time`, whether or not answers come, and waits for
    /// all answers.
    pub(crate) async fn steady(&self, rate: f64, time: Duration) {
        let mut requests = JoinSet::new();
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
        // After a pause of this process, the missed requests are made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + time;
        loop {
            ticks.tick().await;
            if Instant::now() >= end {
                break;
            }
            self.spawn(&mut requests);
            while requests.try_join_next().is_some() {}
        }
        requests.join_all().await;
    }

    /// What was counted since the last call.
    pub(crate) fn take(&self) -> Tally {
        let mut counts = lock(&self.counts);
        let current = std::mem::take(&mut counts.current);
        counts.before.add(&current);
        current
    }

    /// All that was counted.
    pub(crate) fn total(&self) -> Tally {
        let counts = lock(&self.counts);
        let mut total = counts.before.clone();
        total.add(&counts.current);
        total
    }

    fn spawn(&self, requests: &mut JoinSet<()>) {
        let path = self.path.clone();
        let counts = Arc::clone(&self.counts);
        requests.spawn(async move {
            let sent = Instant::now();
            let outcome = path.send().await;
            lock(&counts).current.count(outcome, sent.elapsed());
        });
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut tally = Tally::default();
        assert_eq!(tally.latency(50), None);
        for ms in (1..=100).rev() {
            tally.count(Outcome::Allowed, Duration::from_millis(ms));
        }
        assert_eq!(tally.latency(50), Some(Duration::from_millis(50)));
        assert_eq!(tally.latency(99), Some(Duration::from_millis(99)));
        assert_eq!(tally.latency(100), Some(Duration::from_millis(100)));
    }
}
