//! Reads files again when they change, or when told to by SIGHUP.
//!
//! The files are looked at every second: not at what they hold, which may be much, but at
//! which file it is, its size, and when the system last changed it. That sees what
//! notifications of the file system miss in turn: a file that an editor replaced, Kubernetes'
//! symbolic links, a mount over the network.

use std::error::Error;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use spop_server::admin::Exposition;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::agent::Chain;
use crate::log::Log;
use crate::systemd;

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(1);
/// Until files that could not be used are read again, though they are the same; and until it is
/// said that files keep changing.
const RETRY: Duration = Duration::from_secs(60);

/// What was read from files, and is read again when they change. The one in force is the last
/// that could be used.
///
/// A change counts once the files were the same twice, a second apart, and if they still are
/// after reading: so none is taken half written. SIGHUP reads them at once; systemd is told of
/// it, and when that is done.
///
/// What could not be used is read again each minute, since the reason may pass without a change:
/// a network's file system that fails, too many open files. The same failure is told once. Of
/// files that are not left alone it is said each minute that they are not read.
///
/// ```
/// use std::fs;
///
/// use spoa_process::Watched;
/// use spoa_process::log::{self, Directives, Format};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("greeting.txt");
/// fs::write(&path, "hello")?;
/// let log = log::start(&Directives::default(), Format::default());
/// let greeting = Watched::start("greetings", vec![path.clone()], log, move || {
///     // Which file it is nobody says but this.
///     fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
/// })?;
/// assert_eq!(**greeting.load(), "hello");
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// ```
pub struct Watched<T> {
    in_force: ArcSwap<T>,
    failures: AtomicU64,
    stale: AtomicBool,
}

/// Why the files cannot be used.
type Problem = Box<dyn Error + Send + Sync>;

impl<T: fmt::Display + Send + Sync + 'static> Watched<T> {
    /// Reads the files, and watches them for as long as the runtime lasts; from here on SIGHUP
    /// does not end the process. What is in force is announced to `log` each time that it was
    /// read again; of what could not be used, an error is logged that says that the `name` stay
    /// as they were.
    ///
    /// `read` blocks this thread now, and later one where that harms nobody.
    ///
    /// # Errors
    /// What is wrong with the files, or if the system does not let it listen for signals.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<E>(
        name: &'static str,
        files: Vec<PathBuf>,
        log: Log,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Problem>
    where
        E: Into<Problem> + 'static,
    {
        let read = move || read().map_err(Into::into);
        // Before reading, so that no change is missed.
        let (stamps, hangup) = (stamps(&files), signal(SignalKind::hangup())?);
        let watched = Arc::new(Self {
            in_force: ArcSwap::from_pointee(read()?),
            failures: AtomicU64::new(0),
            stale: AtomicBool::new(false),
        });
        let watching = Arc::clone(&watched);
        tokio::spawn(watching.watch(name, log, files.into(), stamps, hangup, Arc::new(read)));
        Ok(watched)
    }

    /// Goes on until the runtime ends: `read` reads the files, which had these stamps when they
    /// were read before. Nothing that asks the file system, which may be a network, blocks a thread
    /// that answers.
    async fn watch(
        self: Arc<Self>,
        name: &'static str,
        log: Log,
        files: Arc<[PathBuf]>,
        mut before: Stamps,
        mut hangup: Signal,
        read: Arc<impl Fn() -> Result<T, Problem> + Send + Sync + 'static>,
    ) {
        let look = async || {
            let files = Arc::clone(&files);
            spawn_blocking(move || stamps(&files)).await
        };
        let mut seen = before.clone();
        // When they were read, and why they could not be used, if so.
        let (mut read_at, mut failure) = (Instant::now(), None);
        // Since when they have changed, or it was said that they still do.
        let mut changing = None;
        // Whether systemd waits.
        let mut reloading = false;
        loop {
            let told = tokio::select! {
                heard = hangup.recv() => heard.is_some(),
                () = sleep(POLL) => false,
            };
            // Only the end of the runtime is an error.
            let Ok(now) = look().await else { return };
            let settled = now == seen;
            seen.clone_from(&now);
            let changed = now != before;
            let stale = changed || failure.is_some();
            self.stale.store(stale, Ordering::Relaxed);
            if changed && changing.get_or_insert_with(Instant::now).elapsed() >= RETRY {
                changing = Some(Instant::now());
                warn!(
                    "{name} keep changing, so those before stay in force; they are read once the \
                     files are left alone for a second"
                );
            }
            let again = failure.is_some() && read_at.elapsed() >= RETRY;
            if !told && !(settled && (changed || again)) {
                continue;
            }
            if told {
                systemd::reloading();
                reloading = true;
            }
            (before, read_at) = (now, Instant::now());
            let reading = Arc::clone(&read);
            let result = spawn_blocking(move || reading()).await;
            // One that panics does not end the watch.
            let result = result.unwrap_or_else(|panic| Err(panic.into()));
            let Ok(after) = look().await else { return };
            if after != before {
                warn!(
                    "{name} changed while they were read, and are read again once they are left alone"
                );
                continue;
            }
            let known = failure;
            failure = result
                .as_ref()
                .err()
                .map(|problem| Chain(&**problem).to_string());
            changing = None;
            if told || changed || failure != known {
                self.take(name, log, result);
            }
            if reloading {
                systemd::reloaded();
                reloading = false;
            }
        }
    }

    fn take(&self, name: &str, log: Log, result: Result<T, Problem>) {
        self.stale.store(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(news) => {
                let shown = news.to_string();
                self.in_force.store(Arc::new(news));
                log.announce(&shown);
            }
            Err(problem) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                error!("{name} stay as they were: {}", Chain(&*problem));
            }
        }
    }
}

impl<T> Watched<T> {
    /// What is in force. Costs no allocation, and no lock that others hold. Not to be kept for
    /// longer than an answer takes, since what was in force stays in memory until then.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.in_force.load()
    }

    /// How often the files could not be used. A failure that stays, while nothing changes, counts
    /// once.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether what is in force is not what the files hold: they have changed, and were not read
    /// yet, or could not be used. For longer than a moment it is worth an alert.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Adds [`is_stale`](Self::is_stale), as 1 or 0, and [`failures`](Self::failures) to an agent's
    /// metrics, by these names.
    pub fn show(&self, page: &mut Exposition, stale: &str, failures: &str) {
        let help = "1 while the files are not what is in force: not usable, or not read yet.";
        page.gauge(stale, help, [([], self.is_stale().into())]);
        let help = "Times that changed files could not be used.";
        page.counter(failures, help, [([], self.failures())]);
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("in_force", &self.in_force)
            .field("failures", &self.failures)
            .field("stale", &self.stale)
            .finish()
    }
}

/// What is known of each file without reading it. `None`: there is no such file.
type Stamps = Vec<Option<Stamp>>;

/// Device and inode, size, and the time of the last change to contents or name.
type Stamp = (u64, u64, u64, i64, i64);

fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let file = path.metadata().ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some((file.dev(), file.ino(), file.size(), changed.0, changed.1))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests;
