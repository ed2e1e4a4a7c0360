//! Puts new policies in force when their file changes, or when told to.
//!
//! The file is read every second and compared with what it held before. That takes a few µs,
//! and sees what notifications of the file system miss in turn: a file that an editor
//! replaced, Kubernetes' symbolic links, a mount over the network. A change counts once it
//! was read the same twice, a second apart, so that a file is not taken half written.
//!
//! `spoa_process::Watched` is for files that may be long: it looks at their times, so it would
//! announce one that was only touched, and it needs a runtime, which policies do without.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::policies::Policies;
use super::problem::Problems;
use super::source::PolicySource;

/// Between two looks at the file.
const POLL: Duration = Duration::from_secs(1);

/// A watch that goes on until this is dropped.
#[derive(Debug)]
pub struct Watch {
    reload: SyncSender<()>,
    stale: Option<Stale>,
}

impl Watch {
    /// Reads the file at once. Being told again before that is done is the same as once.
    pub fn reload(&self) {
        // Full: it is going to read anyway.
        let _ = self.reload.try_send(());
    }

    /// Whether the policies are stale; `None`: they are of no file.
    pub fn stale(&self) -> Option<Stale> {
        self.stale.clone()
    }
}

/// Whether the policies in force are not those of their file, because it could not be used when
/// it was read last. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stale(Arc<AtomicBool>);

impl Stale {
    /// Whether they are not, as of now.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches the file of `source`, whose policies are in force, on a thread of its own.
///
/// After each reading, `report` gets what has changed, in words, and the policies that are
/// in force from now on; or what is wrong with the file, and then those before stay. Requests
/// under way keep the policy they began with.
///
/// # Errors
/// If there can be no thread.
pub fn watch(
    mut source: PolicySource,
    in_force: Arc<ArcSwap<Policies>>,
    report: impl Fn(Result<(String, &Policies), Problems>) + Send + 'static,
) -> io::Result<Watch> {
    // One that waits is enough.
    let (reload, told) = sync_channel(1);
    let mut seen = None;
    let stale = source.path().map(|_| Stale::default());
    let shown = stale.clone();
    let mut look = move |told_to: bool| {
        let policies = if told_to {
            seen = None;
            source.load()
        } else {
            let before = seen.take();
            seen = source.news();
            match seen.take_if(|news| before.as_ref() == Some(news)) {
                Some(news) => source.take(news),
                None => return,
            }
        };
        if let Some(shown) = &shown {
            shown.0.store(policies.is_err(), Ordering::Relaxed);
        }
        match policies {
            Ok(policies) => {
                let before = in_force.load_full();
                let policies = Arc::new(policies.counting_on(&before));
                in_force.store(Arc::clone(&policies));
                report(Ok((policies.changes_since(&before), &policies)));
            }
            Err(problems) => report(Err(problems)),
        }
    };
    thread::Builder::new()
        .name("policies".to_owned())
        .spawn(move || {
            loop {
                match told.recv_timeout(POLL) {
                    Ok(()) => look(true),
                    Err(RecvTimeoutError::Timeout) => look(false),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
    Ok(Watch { reload, stale })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::gcra::Quota;
    use crate::policy::{Defaults, LimitId};
    use crate::store::failure::FailurePolicy;

    /// For a machine that is busy with other things.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Watched {
        watch: Watch,
        in_force: Arc<ArcSwap<Policies>>,
        reports: Receiver<Result<String, String>>,
    }

    fn watched(path: &Path) -> Watched {
        let defaults = Defaults {
            quota: Quota::new(10_000, 200_000).unwrap(),
            failure: FailurePolicy::Local,
            shadow: false,
            ttl: Duration::from_secs(1800),
        };
        let mut source = PolicySource::new(Some(path.to_owned()), defaults);
        let in_force = Arc::new(ArcSwap::from_pointee(source.load().unwrap()));
        let (report, reports) = channel();
        let watch = watch(source, Arc::clone(&in_force), move |read| {
            let read = read.map(|(changes, _)| changes);
            // The test may be over.
            let _ = report.send(read.map_err(|problems| problems.to_string()));
        });
        Watched {
            watch: watch.unwrap(),
            in_force,
            reports,
        }
    }

    impl Watched {
        fn report(&self) -> Result<String, String> {
            self.reports.recv_timeout(PATIENCE).unwrap()
        }

        fn is_stale(&self) -> bool {
            self.watch.stale().unwrap().get()
        }

        fn limit_of_a(&self) -> (LimitId, u64) {
            let policies = self.in_force.load();
            let limit = &policies.by_name(Some(b"a")).limits()[0];
            (limit.id(), limit.quota().limit())
        }
    }

    fn a(burst: u64) -> String {
        format!("[policy.a]\nrate = '1/s'\nburst = {burst}\n")
    }

    #[test]
    fn a_changed_file_is_in_force_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.toml");
        fs::write(&path, a(1)).unwrap();
        let watched = watched(&path);
        let (id, burst) = watched.limit_of_a();
        assert_eq!(burst, 1);

        // Written in place.
        fs::write(&path, a(2)).unwrap();
        assert_eq!(watched.report(), Ok("changed a".to_owned()));
        assert_eq!(watched.limit_of_a(), (id, 2));
        assert!(!watched.is_stale());

        // Replaced, as editors do.
        let other = dir.path().join("other");
        fs::write(&other, a(0)).unwrap();
        fs::rename(&other, &path).unwrap();
        let said = watched.report().unwrap_err();
        assert!(said.contains(":3: policy \"a\": burst = 0"), "{said}");
        assert_eq!(watched.limit_of_a(), (id, 2));
        assert!(watched.is_stale());

        fs::remove_file(&path).unwrap();
        let said = watched.report().unwrap_err();
        assert!(said.contains("cannot be read"), "{said}");
        assert_eq!(watched.limit_of_a(), (id, 2));

        assert!(watched.is_stale());

        // As it was before all that.
        fs::write(&path, a(2)).unwrap();
        assert_eq!(watched.report(), Ok("nothing changed".to_owned()));
        assert!(!watched.is_stale());

        fs::write(&path, a(3)).unwrap();
        assert_eq!(watched.report(), Ok("changed a".to_owned()));
        assert_eq!(watched.limit_of_a(), (id, 3));
        assert!(!watched.is_stale());
    }

    #[test]
    fn kubernetes_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, burst) in [("v1", 1), ("v2", 2)] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("policies.toml"), a(burst)).unwrap();
        }
        let link = |from, to| std::os::unix::fs::symlink(from, at(to)).unwrap();
        link("v1", "..data");
        link("..data/policies.toml", "policies.toml");
        let watched = watched(&at("policies.toml"));
        let (id, _) = watched.limit_of_a();
        link("v2", "..new");
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(watched.report(), Ok("changed a".to_owned()));
        assert_eq!(watched.limit_of_a(), (id, 2));
    }

    #[test]
    fn it_reads_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.toml");
        fs::write(&path, a(1)).unwrap();
        let watched = watched(&path);
        watched.watch.reload();
        assert_eq!(watched.report(), Ok("nothing changed".to_owned()));
        // A bad file is told of each time somebody asks.
        fs::write(&path, "bad").unwrap();
        watched.watch.reload();
        assert!(watched.report().is_err());
        watched.watch.reload();
        assert!(watched.report().is_err());
    }

    #[test]
    fn it_ends_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.toml");
        fs::write(&path, a(1)).unwrap();
        let Watched { watch, reports, .. } = watched(&path);
        drop(watch);
        // The thread drops its end.
        assert!(reports.recv_timeout(PATIENCE).is_err());
        assert!(reports.try_recv().is_err());
    }
}
