//! A run from beginning to end: the threads that make the load, and what is read off them
//! while it lasts.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval_at, sleep_until};

use super::connection::Connection;
use super::cpu::{CpuTimes, own_cpu_time};
use super::load::Load;
use super::progress::Progress;
use super::socket::Socket;
use super::tally::{SharedTally, Tally};
use super::timeline::Timeline;

/// What to run.
#[derive(Debug)]
pub(super) struct Plan {
    /// A socket and its load each, and the largest ACK in bytes that was agreed on.
    pub(super) connections: Vec<(Socket, u32, Load)>,
    pub(super) threads: usize,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    /// The agent's process.
    pub(super) pid: Option<u32>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// From the end of the warm-up to the end of the run. `None` if it ended before.
    pub(super) measured: Option<(Snapshot, Snapshot)>,
    /// Whether Ctrl-C ended it.
    pub(super) interrupted: bool,
}

/// What was counted up to some moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    /// ACKs that answer a NOTIFY.
    pub(super) answers: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
    /// Of the agent's process.
    pub(super) agent_cpu: Option<CpuTimes>,
    /// Of this process.
    pub(super) own_cpu: Option<Duration>,
}

/// Runs to the end, or until Ctrl-C; after a second one, what is in flight is not awaited.
pub(super) async fn run(plan: Plan) -> io::Result<Outcome> {
    let Plan { pid, warmup, .. } = plan;
    let total = warmup + plan.duration;
    let timeline = Arc::new(Timeline::new(warmup, plan.timeout));
    let (tallies, mut ended) = start_threads(plan, &timeline)?;

    let mut progress = Progress::new(warmup, total);
    let second = Duration::from_secs(1);
    let mut seconds = interval_at(timeline.at(second).into(), second);
    let mut interrupt = pin!(ctrl_c());
    let mut interrupted = false;
    let mut begin = None;
    loop {
        let next = if begin.is_none() { warmup } else { total };
        tokio::select! {
            () = sleep_until(timeline.at(next).into()) => match begin {
                None => begin = Some(Snapshot::take(&tallies, pid)),
                Some(_) => break,
            },
            _ = seconds.tick() => progress.show(timeline.now(), &tallies),
            () = &mut interrupt => {
                interrupted = true;
                break;
            }
            _ = ended.recv() => break,
        }
    }
    let measured = begin.map(|begin| (begin, Snapshot::take(&tallies, pid)));
    timeline.stop();
    progress.clear();

    interrupt.set(ctrl_c());
    loop {
        tokio::select! {
            () = &mut interrupt => {
                timeline.abandon();
                interrupt.set(ctrl_c());
            }
            _ = ended.recv() => break,
        }
    }
    let mut tally = Tally::new().map_err(io::Error::other)?;
    for each in &tallies {
        tally.merge(&each.lock());
    }
    Ok(Outcome {
        tally,
        measured,
        interrupted,
    })
}

impl Snapshot {
    fn take(tallies: &[SharedTally], pid: Option<u32>) -> Self {
        let mut snapshot = Self {
            at: Instant::now(),
            answers: 0,
            bytes_out: 0,
            bytes_in: 0,
            agent_cpu: pid.and_then(|pid| CpuTimes::of(pid).ok()),
            own_cpu: own_cpu_time(),
        };
        for tally in tallies {
            let tally = tally.lock();
            snapshot.answers += tally.answered + tally.late;
            snapshot.bytes_out += tally.bytes_out;
            snapshot.bytes_in += tally.bytes_in;
        }
        snapshot
    }
}

/// Waits for Ctrl-C. Where it cannot be caught it ends the process, as without us.
async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Spreads the connections over threads. The channel is closed when all have ended.
fn start_threads(
    plan: Plan,
    timeline: &Arc<Timeline>,
) -> io::Result<(Vec<SharedTally>, mpsc::Receiver<()>)> {
    let mut threads = Vec::new();
    for _ in 0..plan.threads {
        threads.push(LoadThread::new()?);
    }
    for (number, (socket, max_frame_size, load)) in plan.connections.into_iter().enumerate() {
        if let Some(thread) = threads.get_mut(number % plan.threads) {
            thread.add(socket, max_frame_size, load, timeline)?;
        }
    }
    let (running, ended) = mpsc::channel(1);
    let tallies = threads.iter().map(|thread| thread.tally.clone()).collect();
    for thread in threads {
        thread.start(running.clone())?;
    }
    Ok((tallies, ended))
}

/// A thread that makes load: a runtime of its own, and its connections on it.
struct LoadThread {
    runtime: Runtime,
    tally: SharedTally,
    connections: Vec<JoinHandle<()>>,
}

impl LoadThread {
    fn new() -> io::Result<Self> {
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            tally: SharedTally::new().map_err(io::Error::other)?,
            connections: Vec::new(),
        })
    }

    fn add(
        &mut self,
        socket: Socket,
        max_frame_size: u32,
        load: Load,
        timeline: &Arc<Timeline>,
    ) -> io::Result<()> {
        // Sockets and timers belong to the runtime that they are made in.
        let _guard = self.runtime.enter();
        let (timeline, tally) = (Arc::clone(timeline), self.tally.clone());
        self.connections.push(match socket {
            Socket::Tcp(io) => {
                let io = TcpStream::from_std(io)?;
                let connection = Connection::new(io, max_frame_size, load, timeline, tally)?;
                self.runtime.spawn(connection.run())
            }
            #[cfg(unix)]
            Socket::Unix(io) => {
                let io = UnixStream::from_std(io)?;
                let connection = Connection::new(io, max_frame_size, load, timeline, tally)?;
                self.runtime.spawn(connection.run())
            }
        });
        Ok(())
    }

    /// Runs the connections to their end, and drops `running` then.
    fn start(self, running: mpsc::Sender<()>) -> io::Result<()> {
        let all = async move {
            for connection in self.connections {
                if let Err(panic) = connection.await {
                    self.tally.lock().failed(&panic);
                }
            }
        };
        thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                self.runtime.block_on(all);
                drop(running);
            })?;
        Ok(())
    }
}
