//! Temporary directories of processes that may be killed before they remove them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What a directory's name begins with until it is locked.
const NEW: &str = "new-";

/// A temporary directory, removed when dropped; or, should this process be killed, by the next
/// one that makes one with the same prefix.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
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
        for entry in fs::read_dir(parent)?.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
                let _ = remove_abandoned(&entry.path());
            }
        }
        // Nobody finds it before it is locked.
        let new = TempDir::with_prefix_in(NEW, parent)?;
        let lock = File::open(new.path())?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let name = new.path().file_name().unwrap_or_default();
        let name = name.to_string_lossy().replacen(NEW, prefix, 1);
        let path = parent.join(name);
        fs::rename(new.path(), &path)?;
        // It has another name now.
        let _ = new.keep();
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Fails where its process still lives.
fn remove_abandoned(dir: &Path) -> io::Result<()> {
    // Until the end: another one may be about to remove it, too.
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
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
        // One in another, as a test's is in that of the run of all tests.
        assert!(
            Scratch::new_in(one.path(), "tests-")
                .unwrap()
                .path()
                .exists()
        );
        drop([one, other]);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
