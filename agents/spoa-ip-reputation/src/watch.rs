//! Reads the lists again when a file changes, or when told to by SIGHUP.
//!
//! The files are looked at every second: not at what they hold, which may be much, but at
//! which file it is, its size, and when the system last changed it. That sees what
//! notifications of the file system miss in turn: a file that an editor replaced, Kubernetes'
//! symbolic links, a mount over the network. A change counts once the files were the same
//! twice, a second apart, and if they still are after reading: so none is taken half written.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::Signal;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::check_ip::Reputation;
use crate::lists::{Lists, Sources};

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(1);

/// What is known of the files without reading them. `None`: there is no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

/// Device and inode, size, and the time of the last change to contents or name.
type Stamp = (u64, u64, u64, i64, i64);

impl Stamps {
    /// As the files are now.
    pub fn of(Sources(sources): &Sources) -> Self {
        let stamps = sources.iter().map(|(_, path)| {
            let file = path.metadata().ok()?;
            let changed = (file.ctime(), file.ctime_nsec());
            Some((file.dev(), file.ino(), file.size(), changed.0, changed.1))
        });
        Self(stamps.collect())
    }
}

/// Keeps the lists up to date, for ever; those in force were read when the files had the
/// stamps `read`. After each reading `report` gets the lists that are in force from now on, or
/// what is wrong with the files, and then those before stay.
///
/// Blocks a thread of the runtime while it reads: it needs one with several.
pub async fn watch(
    reputation: Arc<Reputation>,
    sources: Sources,
    mut read: Stamps,
    mut hangup: Signal,
    report: impl Fn(Result<&Lists>),
) {
    let mut seen = read.clone();
    loop {
        let told = tokio::select! {
            heard = hangup.recv() => heard.is_some(),
            () = sleep(POLL) => false,
        };
        let now = Stamps::of(&sources);
        let settled = now == seen;
        seen = now.clone();
        if !told && (now == read || !settled) {
            continue;
        }
        read = now;
        let lists = block_in_place(|| Lists::read(&sources));
        if Stamps::of(&sources) != read {
            continue; // once they have settled
        }
        match lists.map(Arc::new) {
            Ok(lists) => {
                reputation.lists.store(Arc::clone(&lists));
                report(Ok(&lists));
            }
            Err(error) => {
                reputation.list_failures.fetch_add(1, Ordering::Relaxed);
                report(Err(error));
            }
        }
    }
}
