//! Temporary directories of processes that may be killed before they remove them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// A temporary directory, removed when dropped; or, should this process be killed, by the next
/// one that makes one with the same prefix.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    /// The directory is locked as long as its process lives.
    _lock: File,
}

impl Scratch {
    /// A new one, whose name begins with `prefix`, which is nobody else's.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    fn new_in(parent: &Path, prefix: &str) -> Result<Self> {
        // One after the other: a new one is not locked at once.
        let turn = File::open(parent)?;
        flock(&turn, FlockOperation::LockExclusive)?;
        for entry in fs::read_dir(parent)?.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(prefix.as_bytes())
            {
                let _ = remove_abandoned(&entry.path());
            }
        }
        let dir = TempDir::with_prefix_in(prefix, parent)?;
        let lock = File::open(dir.path())?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Fails where its process still lives.
fn remove_abandoned(dir: &Path) -> io::Result<()> {
    flock(File::open(dir)?, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let there = |name: &str| parent.path().join(name).exists();
        for name in ["tests-dead/below", "other-dead"] {
            fs::create_dir_all(parent.path().join(name)).unwrap();
        }
        let [one, other] = [(); 2].map(|()| Scratch::new_in(parent.path(), "tests-").unwrap());
        assert!(!there("tests-dead") && there("other-dead"));
        assert!(one.path().exists() && other.path().exists());
        drop([one, other]);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
