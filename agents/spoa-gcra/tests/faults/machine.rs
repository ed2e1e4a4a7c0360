//! The machine is busy with other things, too. Here the processes that take part go before
//! all others where the system permits that, and the moments are noted at which one of
//! them had to wait for a processor all the same: how long an answer took then says nothing
//! about the agent.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

/// Between two looks.
const SAMPLE: Duration = Duration::from_millis(10);
/// A thread that waited for longer than this between two looks was stalled.
const STALL: Duration = Duration::from_millis(3);
/// A stall of this length has consequences: connections are given up for it.
const LONG: Duration = Duration::from_millis(40);
/// They last no longer than this.
const CONSEQUENCES: Duration = Duration::from_secs(1);

/// Gives this process, and those that it starts from now on, real-time priority. Without
/// the right to do so nothing changes; then more moments do not count.
pub(crate) fn go_first() {
    let mut chrt = Command::new("chrt");
    chrt.args(["--all-tasks", "--rr", "--pid", "1"]);
    chrt.arg(std::process::id().to_string());
    let _ = chrt.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Watches processes, and this one, on a thread of its own.
pub(crate) struct Machine {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ids: Mutex<Vec<u32>>,
    stalls: Mutex<Vec<Stall>>,
    done: AtomicBool,
}

/// Somebody waited for a processor in this time.
#[derive(Debug, Clone, Copy)]
struct Stall {
    from: Instant,
    to: Instant,
}

impl Machine {
    pub(crate) fn watch(ids: Vec<u32>) -> Self {
        let shared = Arc::new(Shared::default());
        *lock(&shared.ids) = ids;
        let watcher = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.look_on()
        });
        Self {
            shared,
            watcher: Some(watcher),
        }
    }

    /// Other processes from now on: some were started anew.
    pub(crate) fn watch_now(&self, ids: Vec<u32>) {
        *lock(&self.shared.ids) = ids;
    }

    /// Ends watching and says when there were stalls.
    pub(crate) fn stalls(mut self) -> Stalls {
        self.end();
        Stalls(lock(&self.shared.stalls).clone())
    }

    fn end(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn look_on(&self) {
        let own = std::process::id();
        let mut before = HashMap::new();
        let mut last = Instant::now();
        while !self.done.load(Ordering::Relaxed) {
            thread::sleep(SAMPLE);
            let now = Instant::now();
            let ids = lock(&self.ids).clone();
            let waited: HashMap<PathBuf, Duration> =
                ids.into_iter().chain([own]).flat_map(waited).collect();
            let longest = waited
                .iter()
                .filter_map(|(thread, total)| Some(total.saturating_sub(*before.get(thread)?)))
                // This thread's own lateness counts as well.
                .chain([(now - last).saturating_sub(SAMPLE)])
                .max()
                .unwrap_or_default();
            if longest > STALL {
                let lasting = if longest > LONG {
                    CONSEQUENCES
                } else {
                    Duration::ZERO
                };
                lock(&self.stalls).push(Stall {
                    from: last - longest,
                    to: now + lasting,
                });
            }
            before = waited;
            last = now;
        }
    }
}

/// How long each of this process's threads has waited for a processor so far. Empty: it is
/// gone.
fn waited(id: u32) -> Vec<(PathBuf, Duration)> {
    let threads = fs::read_dir(format!("/proc/{id}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let path = thread.path().join("schedstat");
            // Time on a processor, time waited for one, and how often.
            let stat = fs::read_to_string(&path).ok()?;
            let waited = stat.split_whitespace().nth(1)?.parse().ok()?;
            Some((path, Duration::from_nanos(waited)))
        })
        .collect()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stalls of a run, in order.
pub(crate) struct Stalls(Vec<Stall>);

impl Stalls {
    /// Whether there was one at any moment of this time.
    pub(crate) fn during(&self, from: Instant, to: Instant) -> bool {
        self.0
            .iter()
            .any(|stall| stall.from <= to && from <= stall.to)
    }
}
