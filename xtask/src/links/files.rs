//! The project's files, and their texts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

/// What is built or fetched, and no page of ours.
const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", "seeds"];

/// All files below a root, by their paths relative to it, and the directories that hold them.
pub(super) struct Files {
    root: PathBuf,
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
}

impl Files {
    pub(super) fn below(root: &Path) -> Self {
        let mut all = Self {
            root: root.to_owned(),
            files: BTreeSet::new(),
            dirs: BTreeSet::new(),
        };
        let mut waiting = vec![root.to_owned()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.file_name().unwrap_or_default();
                if NOT_OURS.iter().any(|other| name == *other) {
                    continue;
                }
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let relative = relative.display().to_string();
                // Not what a link leads to: that may be elsewhere, or around it.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    all.dirs.insert(relative);
                    waiting.push(path);
                } else {
                    all.files.insert(relative);
                }
            }
        }
        all
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = &str> {
        let pages = self.files.iter().filter(|file| file.ends_with(".md"));
        pages.map(String::as_str)
    }

    /// All but pages.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        let others = self.files.iter().filter(|file| !file.ends_with(".md"));
        others.map(String::as_str)
    }

    pub(super) fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).map_err(|error| anyhow!("{file}: {error}"))
    }

    /// Whether this is a file or a directory of the project; the root is `""`.
    pub(super) fn has(&self, path: &str) -> bool {
        path.is_empty() || self.files.contains(path) || self.dirs.contains(path)
    }

    /// Whether any file or directory is called so from some directory on: `store/failure.rs`,
    /// wherever the directory `store` is.
    pub(super) fn has_ending(&self, path: &str) -> bool {
        let ends = |known: &String| {
            let rest = known.strip_suffix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        self.files.iter().any(ends) || self.dirs.iter().any(ends)
    }
}

/// `path` as seen from the directory of `file`, without `.` and `..`; nothing if it leaves the
/// root.
pub(super) fn seen_from(file: &str, path: &str) -> Option<String> {
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_there_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dir")).unwrap();
        fs::write(root.path().join("dir/page.md"), "").unwrap();
        symlink("..", root.path().join("dir/link")).unwrap();
        let files = Files::below(root.path());
        assert!(files.has("dir/page.md") && files.has("dir/link"));
        assert!(!files.has("dir/link/dir"));
        assert_eq!(files.pages().count(), 1);
    }

    #[test]
    fn paths_are_seen_from_the_page() {
        let from = |path| seen_from("agents/spoa-gcra/README.md", path);
        assert_eq!(from("src").as_deref(), Some("agents/spoa-gcra/src"));
        assert_eq!(from("../../deploy/").as_deref(), Some("deploy"));
        assert_eq!(from("../..").as_deref(), Some(""));
        assert_eq!(from("../../../etc"), None);
    }
}
