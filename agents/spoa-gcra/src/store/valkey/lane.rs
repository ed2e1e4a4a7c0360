//! A lane: the task that owns one connection to a primary and writes what has queued for it.
//!
//! There is no timer. While one batch is being written and answered the next one gathers,
//! so an idle lane adds no delay and a busy one writes long pipelines.
//!
//! A watchdog looks now and then whether answers come, also while nothing is asked.

use std::sync::{Arc, Weak};

use futures_util::future::Either;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::batch::Batch;
use super::config::Config;
use super::connector::{self, PooledLink};
use super::error::StoreError;
use super::job::Job;
use super::primary::{Counts, Primary};
use super::script::{Call, Form, Reply};
use super::topology::Topology;
use super::watchdog::{Finding, LOOK, Watchdog};
use crate::store::Source;

/// The most jobs that wait for one lane; the next one is refused at once.
pub(super) const QUEUE: usize = 4096;

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
    call: Call,
    /// The most jobs in one pipeline.
    batch: usize,
    /// The most pipelines on their way at once.
    pipelines: usize,
}

/// Why a connection is served no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The lane is over.
    Over,
    /// It answers nothing.
    Silent,
    /// It is gone.
    Reset,
    /// The breaker has opened since it was made.
    Outdated,
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
            call: config.call,
            batch: config.batch,
            pipelines: config.pipelines,
        };
        tokio::spawn(Self { queue, desk }.run());
        sender
    }

    async fn run(mut self) {
        while let Some((mut link, opening)) = self.connect().await {
            let made = std::time::Instant::now();
            let ending = self.serve(&link.connection, opening).await;
            link.broken = ending != Ending::Over;
            match ending {
                Ending::Over => return,
                Ending::Reset => self.desk.primary.reset(made),
                Ending::Silent | Ending::Outdated => {}
            }
        }
    }

    /// Connects, however long it takes. Jobs wait for the first attempt, within their
    /// deadlines, unless the breaker is open. `None`: the lane is over.
    async fn connect(&mut self) -> Option<(PooledLink, u32)> {
        let Self { queue, desk } = self;
        desk.refuse_during(queue, desk.primary.connect()).await
    }

    /// Serves the queue until it closes or the connection fails. The connection is no good
    /// once the breaker has opened again after `opening`.
    async fn serve(&mut self, connection: &MultiplexedConnection, opening: u32) -> Ending {
        let Self { queue, desk } = self;
        let primary = &*desk.primary;
        let mut batch = Vec::with_capacity(desk.batch);
        let mut in_flight = FuturesUnordered::new();
        let mut watchdog = Watchdog::new(primary.silence);
        let look = sleep(LOOK);
        tokio::pin!(look);
        let ending = loop {
            tokio::select! {
                biased;
                Some(outcome) = in_flight.next() => match outcome {
                    Outcome::Unsent => {}
                    Outcome::Answered => {
                        watchdog.heard();
                        primary.answered();
                    }
                    Outcome::Silent => {
                        watchdog.unanswered();
                        primary.unanswered();
                    }
                    Outcome::Broken => break Ending::Reset,
                },
                () = &mut look => {
                    let again = match watchdog.look(!in_flight.is_empty()) {
                        _ if primary.openings() != opening => break Ending::Outdated,
                        Finding::Silent => break Ending::Silent,
                        Finding::Well(again) => again,
                        Finding::Ask(again) => {
                            in_flight.push(Either::Right(ping(connection.clone())));
                            again
                        }
                    };
                    look.as_mut().reset(Instant::now() + again);
                }
                received = queue.recv_many(&mut batch, desk.batch), if in_flight.len() < desk.pipelines => {
                    if received == 0 {
                        break Ending::Over;
                    }
                    if watchdog.asked() {
                        look.as_mut().reset(Instant::now() + LOOK);
                    }
                    let jobs = std::mem::replace(&mut batch, Vec::with_capacity(desk.batch));
                    if primary.openings() != opening {
                        desk.refuse(jobs);
                        break Ending::Outdated;
                    }
                    in_flight.push(Either::Left(desk.exchange(connection.clone(), jobs)));
                }
            }
        };
        if ending == Ending::Silent {
            // Now, so that nobody waits for what follows.
            primary.silent();
        }
        // Each of them ends within the budget, its jobs answered.
        let rest = in_flight.for_each(async |_| {});
        tokio::pin!(rest);
        if desk.refuse_during(queue, rest.as_mut()).await.is_none() {
            rest.await;
        }
        ending
    }
}

/// Whether the server answers at all.
async fn ping(mut connection: MultiplexedConnection) -> Outcome {
    match connector::answers(&mut connection).await {
        Ok(()) => Outcome::Answered,
        Err(error) if error.is_timeout() => Outcome::Silent,
        Err(_) => Outcome::Broken,
    }
}

impl Desk {
    /// Does the work, and refuses every job that comes once the breaker is open. `None`: the
    /// lane is over.
    async fn refuse_during<T>(
        &self,
        queue: &mut mpsc::Receiver<Job>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let opened = self.primary.refuses();
        tokio::pin!(work, opened);
        let mut open = false;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = &mut opened, if !open => open = true,
                job = queue.recv(), if open => self.refuse([job?]),
            }
        }
    }

    fn refuse(&self, jobs: impl IntoIterator<Item = Job>) {
        for job in jobs {
            job.answer(Err(self.primary.refusal()));
        }
    }

    /// Writes the jobs as one pipeline and answers each of them. Those that find the script
    /// missing are sent once more in a form that brings it along.
    async fn exchange(&self, mut connection: MultiplexedConnection, mut jobs: Vec<Job>) -> Outcome {
        let mut outcome = Outcome::Unsent;
        for form in [Form::Name, Form::Text] {
            if (self.call, form) == (Call::Fcall, Form::Text) && !jobs.is_empty() {
                // If that fails, so will what comes next.
                let _ = self.call.provide(&mut connection).await;
            }
            jobs = self.still_wanted(jobs);
            if jobs.is_empty() {
                return outcome;
            }
            let counts = &self.primary.counts;
            Counts::add(&counts.sent, jobs.len());
            counts.batch_checks.record(jobs.len() as u64);
            let batch = Batch::new(jobs);
            let pipeline = batch.pipeline(self.call, form, self.cap_millis);
            let since = Instant::now();
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
            let nanos = since.elapsed().as_nanos();
            counts
                .answer_nanos
                .record(u64::try_from(nanos).unwrap_or(u64::MAX));
            outcome = Outcome::Answered;
            jobs = self.judge(batch, replies);
        }
        // A server that does not know a script whose text it was given.
        self.fail(jobs, |node| StoreError::Malformed { node });
        outcome
    }

    /// Answers the jobs that are too late to be sent; the rest remain.
    fn still_wanted(&self, mut jobs: Vec<Job>) -> Vec<Job> {
        let now = std::time::Instant::now();
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
                    self.fail([job], |node| StoreError::Refused {
                        node,
                        code: code.clone(),
                    });
                    continue;
                }
                Reply::Malformed => {
                    self.fail([job], |node| StoreError::Malformed { node });
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
            Counts::add(&self.primary.counts.failed, 1);
            job.answer(Err(error(self.primary.name.clone())));
        }
    }

    fn refresh(&self) {
        if let Some(topology) = self.topology.upgrade() {
            topology.refresh(None);
        }
    }
}
