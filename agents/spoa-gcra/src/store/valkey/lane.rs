//! A lane: the task that owns one connection to a primary and writes what has queued for it.
//!
//! There is no timer. While one batch is being written and answered the next one gathers,
//! so an idle lane adds no delay and a busy one writes long pipelines.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::batch::Batch;
use super::config::Config;
use super::error::StoreError;
use super::job::Job;
use super::primary::{PooledLink, Primary};
use super::script::{Form, Reply};
use super::topology::Topology;
use crate::store::Source;

/// The most jobs that wait for one lane; the next one is refused at once.
pub(super) const QUEUE: usize = 4096;
/// A connection that has answered nothing for this long, while asked, is given up.
const SILENCE: Duration = Duration::from_millis(100);

/// One connection's task.
#[derive(Debug)]
pub(super) struct Lane {
    queue: mpsc::Receiver<Job>,
    desk: Desk,
}

/// What judging replies takes.
#[derive(Debug)]
struct Desk {
    primary: Arc<Primary>,
    topology: Weak<Topology>,
    cap_millis: u64,
    /// The most jobs in one pipeline.
    batch: usize,
    /// The most pipelines on their way at once.
    pipelines: usize,
}

/// How a pipeline fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Every job had expired.
    Unsent,
    Answered,
    /// No answer within the budget. Answers still to come are dropped as they come.
    Silent,
    /// The connection is gone.
    Broken,
}

impl Lane {
    /// Starts a lane, which ends when the sender is dropped.
    pub(super) fn start(
        primary: Arc<Primary>,
        topology: Weak<Topology>,
        config: &Config,
    ) -> mpsc::Sender<Job> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let desk = Desk {
            primary,
            topology,
            cap_millis: u64::try_from(config.ttl.as_millis()).unwrap_or(u64::MAX),
            batch: config.batch,
            pipelines: config.pipelines,
        };
        tokio::spawn(Self { queue, desk }.run());
        sender
    }

    async fn run(mut self) {
        loop {
            let Some(mut link) = self.connect().await else {
                return;
            };
            match self.serve(&link.connection).await {
                None => return,
                Some(reason) => {
                    link.broken = true;
                    self.desk.primary.lost(reason);
                    self.desk.refresh();
                }
            }
        }
    }

    /// Connects, however long it takes. Jobs wait for the first attempt, within their
    /// deadlines; once that has failed they are refused at once. `None`: the lane is over.
    async fn connect(&mut self) -> Option<PooledLink> {
        let primary = self.desk.primary.clone();
        let mut backoff = Backoff::new();
        let mut attempt = primary.connect().await;
        loop {
            match attempt {
                Ok(link) => return Some(link),
                Err(reason) => primary.lost(&reason),
            }
            self.desk.refresh();
            let pause = backoff.pause();
            let next = async {
                sleep(pause).await;
                primary.connect().await
            };
            attempt = self.refuse_during(next).await?;
        }
    }

    /// Refuses every job that comes while `work` is under way. `None`: the lane is over.
    async fn refuse_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                job = self.queue.recv() => {
                    let node = self.desk.primary.name.clone();
                    job?.answer(Err(StoreError::Unreachable { node }));
                }
            }
        }
    }

    /// Serves the queue until it closes (`None`) or the connection fails (why).
    async fn serve(&mut self, connection: &MultiplexedConnection) -> Option<&'static str> {
        let Self { queue, desk } = self;
        let mut batch = Vec::with_capacity(desk.batch);
        let mut in_flight = FuturesUnordered::new();
        let mut silent_since: Option<Instant> = None;
        let ending = loop {
            tokio::select! {
                biased;
                Some(outcome) = in_flight.next() => match outcome {
                    Outcome::Unsent => {}
                    Outcome::Answered => silent_since = None,
                    Outcome::Silent => {
                        if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                            break Some("no answers");
                        }
                    }
                    Outcome::Broken => break Some("the connection was lost"),
                },
                received = queue.recv_many(&mut batch, desk.batch), if in_flight.len() < desk.pipelines => {
                    if received == 0 {
                        break None;
                    }
                    let jobs = std::mem::replace(&mut batch, Vec::with_capacity(desk.batch));
                    in_flight.push(desk.exchange(connection.clone(), jobs));
                }
            }
        };
        // Each of them ends within the budget, its jobs answered.
        while in_flight.next().await.is_some() {}
        ending
    }
}

impl Desk {
    /// Writes the jobs as one pipeline and answers each of them. Those that find the script
    /// missing are sent once more with its text.
    async fn exchange(&self, mut connection: MultiplexedConnection, mut jobs: Vec<Job>) -> Outcome {
        let mut outcome = Outcome::Unsent;
        for form in [Form::Hash, Form::Source] {
            jobs = self.still_wanted(jobs);
            if jobs.is_empty() {
                return outcome;
            }
            let batch = Batch::new(jobs);
            let pipeline = batch.pipeline(form, self.cap_millis);
            let sent = connection.send_packed_commands(&pipeline, 0, pipeline.len());
            let replies = match sent.await {
                Ok(replies) => replies,
                Err(error) if error.is_timeout() => {
                    self.fail(batch.into_jobs(), |node| StoreError::NoAnswer { node });
                    return Outcome::Silent;
                }
                Err(_) => {
                    self.fail(batch.into_jobs(), |node| StoreError::ConnectionLost {
                        node,
                    });
                    return Outcome::Broken;
                }
            };
            outcome = Outcome::Answered;
            jobs = self.judge(batch, replies);
        }
        // A server that does not know a script whose text it was given.
        self.fail(jobs, |node| StoreError::Malformed { node });
        outcome
    }

    /// Answers the jobs that are too late to be sent; the rest remain.
    fn still_wanted(&self, mut jobs: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let late: Vec<_> = jobs.extract_if(.., |job| job.is_pointless(now)).collect();
        self.fail(late, |node| StoreError::Deadline { node });
        jobs
    }

    /// Answers each job by its own reply. Those that found no script remain.
    fn judge(&self, batch: Batch, replies: Vec<redis::Value>) -> Vec<Job> {
        let node = || self.primary.name.clone();
        let mut no_script = Vec::new();
        for (mut job, before, reply) in batch.judged(replies, &self.primary.host) {
            let (target, asking) = match reply {
                Reply::Rooms(rooms) => {
                    let verdict = rooms.verdict(&job.check, before, Source::Valkey);
                    job.answer(Ok(verdict));
                    continue;
                }
                Reply::NoScript => {
                    no_script.push(job);
                    continue;
                }
                Reply::Refused(code) => {
                    // What a replica says, or a primary that lost its cluster.
                    if matches!(&*code, "READONLY" | "CLUSTERDOWN" | "MASTERDOWN") {
                        self.refresh();
                    }
                    job.answer(Err(StoreError::Refused { node: node(), code }));
                    continue;
                }
                Reply::Malformed => {
                    job.answer(Err(StoreError::Malformed { node: node() }));
                    continue;
                }
                Reply::Moved(target) => (target, false),
                Reply::Ask(target) => (target, true),
            };
            match self.topology.upgrade() {
                Some(topology) if job.redirect(asking) => topology.redirect(job, target, &node()),
                _ => job.answer(Err(StoreError::Moving { node: node() })),
            }
        }
        no_script
    }

    fn fail(&self, jobs: impl IntoIterator<Item = Job>, error: impl Fn(Arc<str>) -> StoreError) {
        for job in jobs {
            job.answer(Err(error(self.primary.name.clone())));
        }
    }

    fn refresh(&self) {
        if let Some(topology) = self.topology.upgrade() {
            topology.refresh(None);
        }
    }
}
