//! A root file system: paths and what is there, independent of who builds it, where, when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The mode of a directory that nothing else is said about, and of programs.
const EXECUTABLE: u32 = 0o755;
/// The mode of other files.
const READABLE: u32 = 0o644;
/// More links than this on the way to a path are a circle.
const MOST_LINKS: usize = 40;

/// The files of an image. All of them belong to root and date from 1970.
///
/// Paths are absolute or relative to the root, which is the same here. Parent directories
/// come by themselves. A path that leads through a symbolic link lands where the link leads,
/// so that after `link("lib", "usr/lib")` the file `lib/x` is `usr/lib/x`. What is added
/// later replaces what was there, except that a directory stays what it was.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Directory(u32),
    File(u32, Content),
    Link(PathBuf),
}

#[derive(Debug, Clone)]
enum Content {
    Here(Vec<u8>),
    At(PathBuf),
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory, or another mode for one that is there.
    ///
    /// # Errors
    /// When the path leads out of the root, or through a file.
    pub fn directory(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = self.resolve(path.as_ref(), true)?;
        self.insert(path, Entry::Directory(mode))
    }

    /// A file with this content.
    ///
    /// # Errors
    /// As [`Tree::directory`].
    pub fn file(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        content: impl Into<Vec<u8>>,
    ) -> Result<()> {
        let path = self.resolve(path.as_ref(), false)?;
        self.insert(path, Entry::File(mode, Content::Here(content.into())))
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// As [`Tree::directory`].
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Result<()> {
        let path = self.resolve(path.as_ref(), false)?;
        self.insert(path, Entry::Link(target.into()))
    }

    /// The file `from` of this machine, or all that is below the directory `from`, at `to`.
    /// Links are copied as links. Of the modes only one thing is kept: whether the owner may
    /// execute the file. Content is read when the image is written.
    ///
    /// # Errors
    /// As [`Tree::directory`]; when `from` cannot be read, or holds a device or a socket.
    pub fn copy(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let about = fs::symlink_metadata(from).with_context(|| from.display().to_string())?;
        if about.is_symlink() {
            return self.link(to, fs::read_link(from)?);
        }
        if about.is_dir() {
            let path = self.resolve(to, true)?;
            if !path.as_os_str().is_empty() && !self.entries.contains_key(&path) {
                self.insert(path, Entry::Directory(EXECUTABLE))?;
            }
            for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
                let entry = entry?;
                self.copy(entry.path(), to.join(entry.file_name()))?;
            }
            return Ok(());
        }
        if !about.is_file() {
            bail!("{} is neither file, directory nor link", from.display());
        }
        let mode = if about.permissions().mode() & 0o100 == 0 {
            READABLE
        } else {
            EXECUTABLE
        };
        let path = self.resolve(to, false)?;
        self.insert(path, Entry::File(mode, Content::At(from.to_path_buf())))
    }

    /// Writes all of it as a tar archive, sorted by path.
    ///
    /// # Errors
    /// When a copied file is no longer there, or `out` fails.
    pub(super) fn write(&self, out: impl Write) -> Result<()> {
        let mut archive = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            let appended = append(&mut archive, path, entry);
            appended.with_context(|| format!("{} cannot be archived", path.display()))?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }

    fn insert(&mut self, path: PathBuf, entry: Entry) -> Result<()> {
        for parent in path.ancestors().skip(1) {
            if parent.as_os_str().is_empty() {
                break;
            }
            let parent = self
                .entries
                .entry(parent.to_path_buf())
                .or_insert(Entry::Directory(EXECUTABLE));
            if !matches!(parent, Entry::Directory(_)) {
                bail!("{} is below what is not a directory", path.display());
            }
        }
        if path.as_os_str().is_empty() {
            bail!("the root itself can only be a directory of mode 755");
        }
        let is_directory = |entry: &Entry| matches!(entry, Entry::Directory(_));
        if self.entries.get(&path).is_some_and(is_directory) && !is_directory(&entry) {
            bail!("{} is a directory already", path.display());
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Follows the links on the way to `path`, and `path` itself if `whole`.
    fn resolve(&self, path: &Path, whole: bool) -> Result<PathBuf> {
        let mut rest: Vec<Component<'_>> = path.components().rev().collect();
        let mut resolved = PathBuf::new();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            match component {
                Component::RootDir => resolved = PathBuf::new(),
                Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => {
                    if !resolved.pop() {
                        bail!("{} leads out of the root", path.display());
                    }
                }
                Component::Normal(name) => {
                    resolved.push(name);
                    if rest.is_empty() && !whole {
                        break;
                    }
                    if let Some(Entry::Link(target)) = self.entries.get(&resolved) {
                        links += 1;
                        if links > MOST_LINKS {
                            bail!("{} leads through a circle of links", path.display());
                        }
                        resolved.pop();
                        rest.extend(target.components().rev());
                    }
                }
            }
        }
        Ok(resolved)
    }
}

fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match entry {
        Entry::Directory(mode) => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            // With the slash at its end that tar itself writes.
            archive.append_data(&mut header, path.join(""), io::empty())
        }
        Entry::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)
        }
        Entry::File(mode, content) => {
            header.set_mode(*mode);
            match content {
                Content::Here(bytes) => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice())
                }
                Content::At(from) => {
                    let file = File::open(from)?;
                    header.set_size(file.metadata()?.len());
                    archive.append_data(&mut header, path, file)
                }
            }
        }
    }
}
