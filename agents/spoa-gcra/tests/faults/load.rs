//! The load: HAProxy's side of several connections, each asking for its share of the
//! clients at a steady rate. Every NOTIFY is on record with its answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spop_client::Client as Haproxy;
use spop_client::spop_codec::{Ack, Action, NotifyBuilder, Scope, TypedData};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clients::Client;

/// Connections to all agents together.
const CONNECTIONS: usize = 6;
/// NOTIFYs in flight on one connection, as HAProxy holds it. Of more, HAProxy would have given up
/// on some, and agents let their answers wait.
const IN_FLIGHT: usize = 20;
/// How long answers are waited for when nothing more is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is further behind than this is left out, not caught up with.
const BEHIND: Duration = Duration::from_millis(200);

/// One NOTIFY and what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Index of the client.
    pub(crate) client: usize,
    /// Index of the agent.
    pub(crate) agent: usize,
    pub(crate) sent: Instant,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Answered(Answer),
    /// The connection ended first.
    Void,
    /// Nothing came.
    Lost,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) received: Instant,
    pub(crate) allowed: bool,
    pub(crate) source: Source,
}

/// Who decided, as far as the difference matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// `valkey`
    Valkey,
    /// `cache`
    Cache,
    /// `fallback`
    Fallback,
    /// The engine answered in the agent's place, without variables.
    None,
}

impl Source {
    /// Whether Valkey's word counted.
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Valkey | Self::Cache)
    }
}

/// Runs until [`Load::stop`].
pub(crate) struct Load {
    record: Arc<Mutex<Vec<Asked>>>,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

impl Load {
    /// Starts to ask these agents, each over the same number of connections.
    pub(crate) fn start(agents: &[SocketAddr], clients: &[Client]) -> Self {
        let record: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let agents = agents.iter().enumerate().cycle();
        for (number, (agent, &addr)) in agents.take(CONNECTIONS).enumerate() {
            let clients = clients.iter().cloned().enumerate();
            let share = Share {
                agent,
                addr,
                due: clients
                    .map(|(index, client)| Due::new(index, client, number))
                    .collect(),
                record: Arc::clone(&record),
                stopped: stopped.clone(),
            };
            connections.spawn(share.ask());
        }
        Self {
            record,
            stop,
            connections,
        }
    }

    /// What is on record so far: what was answered or is void.
    pub(crate) fn record(&self) -> Vec<Asked> {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks nothing more, waits for what is in flight, and returns all there was, in the
    /// order of sending.
    pub(crate) async fn stop(mut self) -> Vec<Asked> {
        self.stop.send_replace(true);
        while let Some(done) = self.connections.join_next().await {
            done.unwrap();
        }
        let mut record = self.record();
        record.sort_by_key(|asked| asked.sent);
        record
    }
}

/// When a client is asked about next, on one connection.
struct Due {
    index: usize,
    client: Client,
    period: Duration,
    next: Instant,
}

impl Due {
    fn new(index: usize, client: Client, connection: usize) -> Self {
        let period = client.kind.period();
        // The client's requests go round the connections, evenly spaced.
        let phase = period.mul_f64(index as f64 * 0.618 % 1.0);
        Self {
            index,
            next: Instant::now() + phase + period * u32::try_from(connection).unwrap(),
            period: period * u32::try_from(CONNECTIONS).unwrap(),
            client,
        }
    }
}

/// What one connection asks.
struct Share {
    agent: usize,
    addr: SocketAddr,
    due: Vec<Due>,
    record: Arc<Mutex<Vec<Asked>>>,
    stopped: watch::Receiver<bool>,
}

impl Share {
    /// Asks until stopped; connects again when the connection ends.
    async fn ask(mut self) {
        while !*self.stopped.borrow() {
            match Haproxy::connect(self.addr).await {
                Ok(haproxy) => self.ask_over(haproxy).await,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn ask_over(&mut self, mut haproxy: Haproxy<TcpStream>) {
        let mut in_flight: HashMap<u64, Asked> = HashMap::new();
        let mut stopped = self.stopped.clone();
        haproxy.set_timeout(None);
        loop {
            let next = self.due.iter().map(|due| due.next).min().unwrap();
            let outcome = tokio::select! {
                biased;
                ack = haproxy.recv_ack() => ack.map(|ack| self.answered(&ack, &mut in_flight)),
                () = sleep_until(next), if in_flight.len() < IN_FLIGHT =>
                    self.send(&mut haproxy, &mut in_flight).await,
                _ = stopped.changed() => break,
            };
            if outcome.is_err() {
                return self.give_up(in_flight, Fate::Void);
            }
        }
        let rest = async {
            while !in_flight.is_empty() {
                match haproxy.recv_ack().await {
                    Ok(ack) => self.answered(&ack, &mut in_flight),
                    Err(_) => return,
                }
            }
        };
        let _ = timeout(PATIENCE, rest).await;
        self.give_up(in_flight, Fate::Lost);
    }

    async fn send(
        &mut self,
        haproxy: &mut Haproxy<TcpStream>,
        in_flight: &mut HashMap<u64, Asked>,
    ) -> Result<(), spop_client::ClientError> {
        let now = Instant::now();
        let room = IN_FLIGHT.saturating_sub(in_flight.len());
        let due = self.due.iter_mut().filter(|due| due.next <= now);
        for due in due.take(room) {
            due.next += due.period;
            if due.next + BEHIND < now {
                due.next = now + due.period;
            }
            let stream_id = haproxy.next_stream_id();
            let args = [("ip_src", TypedData::Ipv4(due.client.addr))];
            let notify = NotifyBuilder::new().message("check-rate", args).unwrap();
            haproxy.queue(&notify.build(stream_id, 1)).unwrap();
            let asked = Asked {
                client: due.index,
                agent: self.agent,
                sent: now,
                fate: Fate::Lost,
            };
            in_flight.insert(stream_id, asked);
        }
        haproxy.flush().await
    }

    fn answered(&self, ack: &Ack, in_flight: &mut HashMap<u64, Asked>) {
        // One that nobody waits for would be a second answer.
        let mut asked = in_flight.remove(&ack.stream_id()).unwrap();
        asked.fate = Fate::Answered(read(ack, Instant::now()));
        self.push([asked]);
    }

    fn give_up(&self, in_flight: HashMap<u64, Asked>, fate: Fate) {
        self.push(in_flight.into_values().map(|asked| Asked { fate, ..asked }));
    }

    fn push(&self, asked: impl IntoIterator<Item = Asked>) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.extend(asked);
    }
}

/// Asks about `count` clients that were never there before, many at once, and waits for
/// every answer.
pub(crate) async fn flood(agent: SocketAddr, first: u32, count: u32) {
    const WINDOW: u32 = 20;
    let mut haproxy = Haproxy::connect(agent).await.unwrap();
    let mut waiting = 0;
    for number in first..first + count {
        let args = [("ip_src", TypedData::Ipv4((0x0B00_0000 + number).into()))];
        let notify = NotifyBuilder::new().message("check-rate", args).unwrap();
        let stream_id = haproxy.next_stream_id();
        haproxy.queue(&notify.build(stream_id, 1)).unwrap();
        waiting += 1;
        if waiting == WINDOW {
            haproxy.flush().await.unwrap();
            for _ in 0..waiting {
                haproxy.recv_ack().await.unwrap();
            }
            waiting = 0;
        }
    }
    assert_eq!(waiting, 0, "count is a multiple of {WINDOW}");
}

/// The variables of an answer that matter here.
pub(crate) fn read(ack: &Ack, received: Instant) -> Answer {
    let mut answer = Answer {
        received,
        allowed: true,
        source: Source::None,
    };
    for action in ack.actions() {
        let Action::SetVar {
            scope: Scope::Transaction,
            name,
            value,
        } = action
        else {
            continue;
        };
        match name.as_bytes() {
            b"allowed" => answer.allowed = value.to_bool().unwrap(),
            b"source" => {
                answer.source = match value.to_bytes().unwrap() {
                    b"valkey" => Source::Valkey,
                    b"cache" => Source::Cache,
                    b"fallback" => Source::Fallback,
                    other => panic!("{}", String::from_utf8_lossy(other)),
                }
            }
            _ => {}
        }
    }
    answer
}
