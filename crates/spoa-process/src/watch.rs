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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::block_in_place;
use tokio::time::sleep;
use tracing::error;

use crate::agent::Chain;
use crate::log::Log;

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(1);

/// What was read from files, and is read again when they change. The one in force is the last
/// that could be used.
///
/// A change counts once the files were the same twice, a second apart, and if they still are
/// after reading: so none is taken half written.
/// Reading blocks a thread of the runtime, which needs several.
pub struct Watched<T> {
    in_force: ArcSwap<T>,
    failures: AtomicU64,
}

impl<T: fmt::Display + Send + Sync + 'static> Watched<T> {
    /// Reads the files, and watches them from now on; from here on SIGHUP does not end the
    /// process. What is in force is announced to `log` each time that it was read again; of
    /// what could not be used, an error is logged that says that the `name` stay as they were.
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
        read: impl Fn() -> Result<T, E> + Send + 'static,
    ) -> Result<Arc<Self>, Box<dyn Error + Send + Sync>>
    where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        // Before reading, so that no change is missed.
        let (stamps, hangup) = (stamps(&files), signal(SignalKind::hangup())?);
        let watched = Arc::new(Self {
            in_force: ArcSwap::from_pointee(read().map_err(Into::into)?),
            failures: AtomicU64::new(0),
        });
        let taking = Arc::clone(&watched);
        let take = move |result: Result<T, E>| match result {
            Ok(news) => {
                let shown = news.to_string();
                taking.in_force.store(Arc::new(news));
                log.announce(&shown);
            }
            Err(error) => {
                taking.failures.fetch_add(1, Ordering::Relaxed);
                error!("{name} stay as they were: {}", Chain(&*error.into()));
            }
        };
        tokio::spawn(watch(files, stamps, hangup, read, take));
        Ok(watched)
    }

    /// What is in force. Costs no allocation, and no lock that others hold.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.in_force.load()
    }

    /// How often changed files could not be used.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("in_force", &self.in_force)
            .field("failures", &self.failures)
            .finish()
    }
}

/// Goes on for ever: `read` reads the files, which had these stamps when they were read before,
/// and `take` gets what came of it.
async fn watch<T>(
    files: Vec<PathBuf>,
    mut before: Stamps,
    mut hangup: Signal,
    read: impl Fn() -> T,
    take: impl Fn(T),
) {
    let mut seen = before.clone();
    loop {
        let told = tokio::select! {
            heard = hangup.recv() => heard.is_some(),
            () = sleep(POLL) => false,
        };
        let now = stamps(&files);
        let settled = now == seen;
        seen.clone_from(&now);
        if !told && (now == before || !settled) {
            continue;
        }
        before = now;
        let result = block_in_place(&read);
        // If not, then once they have settled.
        if stamps(&files) == before {
            take(result);
        }
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
