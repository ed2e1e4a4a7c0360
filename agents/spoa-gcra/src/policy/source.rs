//! Where policies come from: a file, or environment variables alone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::file::{self, Defaults, MAX_FILE};
use super::limit_ids::LimitIds;
use super::policies::Policies;
use super::problem::{Mistake, Problem, Problems};

/// Reads the policies as often as it is asked to. Limits keep their
/// [`LimitId`](super::LimitId)s from one time to the next.
#[derive(Debug)]
pub struct PolicySource {
    path: Option<PathBuf>,
    defaults: Defaults,
    ids: LimitIds,
    /// What the file held when it was read last, usable or not.
    content: Option<Content>,
}

/// What a file holds, or why nobody knows.
pub(super) type Content = Result<String, Mistake>;

impl PolicySource {
    /// The policies of the file at `path`, or without one the policy of `defaults`. Nothing
    /// is read yet.
    pub fn new(path: Option<PathBuf>, defaults: Defaults) -> Self {
        Self {
            path,
            defaults,
            ids: LimitIds::default(),
            content: None,
        }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the policies. Blocks for as long as the file takes to be read.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(&mut self) -> Result<Policies, Problems> {
        match self.path.as_deref().map(content) {
            Some(content) => self.take(content),
            None => Ok(Policies::of_one(self.defaults.policy())),
        }
    }

    /// What the file holds now, if that is not what it held when it was read last.
    pub(super) fn news(&self) -> Option<Content> {
        let content = content(self.path.as_deref()?);
        (self.content.as_ref() != Some(&content)).then_some(content)
    }

    /// The policies of this content, which is the file's.
    pub(super) fn take(&mut self, content: Content) -> Result<Policies, Problems> {
        let content = self.content.insert(content);
        let policies = match content {
            Ok(text) => file::read(text, &self.defaults, &mut self.ids),
            Err(mistake) => Err(vec![Problem {
                line: None,
                policy: None,
                mistake: mistake.clone(),
            }]),
        };
        let path = self.path.clone().unwrap_or_default();
        policies.map_err(|problems| Problems::new(path, problems))
    }
}

fn content(path: &Path) -> Content {
    let unreadable = |error: std::io::Error| Mistake::Unreadable(error.to_string());
    // A pipe would never end, and be waited for when opened.
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Mistake::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // It may grow while it is read.
    let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    if length.map_err(unreadable)? as u64 > MAX_FILE {
        return Err(Mistake::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| Mistake::NotUtf8)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gcra::Quota;
    use crate::store::failure::FailurePolicy;

    fn source(path: Option<&Path>) -> PolicySource {
        let defaults = Defaults {
            quota: Quota::new(10_000, 200_000).unwrap(),
            failure: FailurePolicy::Local,
            shadow: false,
            ttl: Duration::from_secs(1800),
        };
        PolicySource::new(path.map(Path::to_owned), defaults)
    }

    #[test]
    fn without_a_file_there_is_one_policy() {
        let mut source = source(None);
        assert_eq!(source.load().unwrap().all().len(), 1);
        assert_eq!(source.news(), None);
    }

    #[test]
    fn what_cannot_be_read_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.toml");
        let shown = path.display().to_string();
        let said = |path: &Path| source(Some(path)).load().unwrap_err().to_string();
        let missing = said(&path);
        assert!(
            missing.starts_with(&format!("{shown}: cannot be read: ")),
            "{missing}"
        );
        assert!(said(dir.path()).ends_with(": not a file"));
        assert!(said("/dev/zero".as_ref()).ends_with(": not a file"));
        std::fs::write(&path, b"# \xff").unwrap();
        assert_eq!(said(&path), format!("{shown}: not UTF-8 text"));
        std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
        assert_eq!(source(Some(&path)).load().unwrap().all().len(), 1);
        std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
        assert_eq!(
            said(&path),
            format!("{shown}: too long; accepted: up to 1048576 bytes")
        );
    }

    #[test]
    fn news_is_what_is_not_known_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.toml");
        let mut source = source(Some(&path));
        std::fs::write(&path, "").unwrap();
        source.load().unwrap();
        assert_eq!(source.news(), None);
        std::fs::write(&path, "# other").unwrap();
        let news = source.news().unwrap();
        source.take(news).unwrap();
        assert_eq!(source.news(), None);
        std::fs::write(&path, "bad").unwrap();
        let news = source.news().unwrap();
        source.take(news).unwrap_err();
        // A bad file is told of once.
        assert_eq!(source.news(), None);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.news(), Some(Err(Mistake::Unreadable(_)))));
    }
}
