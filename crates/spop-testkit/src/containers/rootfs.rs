//! The root file system of an image, made of programs of this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Engine;
use crate::Scratch;
use crate::tools::Program;

/// Where the C library's loader looks for libraries, on every architecture.
const LIBRARIES: &str = "usr/lib";

/// A directory that becomes an image's root.
#[derive(Debug)]
pub struct Rootfs {
    dir: Scratch,
}

impl Rootfs {
    /// An empty one, with `/tmp`.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new() -> Result<Self> {
        let rootfs = Self {
            dir: Scratch::new("spop-rootfs-")?,
        };
        fs::create_dir_all(rootfs.dir.path().join("tmp"))?;
        symlink(LIBRARIES, rootfs.dir.path().join("lib"))?;
        fs::create_dir_all(rootfs.dir.path().join(LIBRARIES))?;
        Ok(rootfs)
    }

    /// A program at `path`, and the libraries that it needs.
    ///
    /// # Errors
    /// When one of them cannot be found or copied.
    pub fn program(self, program: &Program, path: &str) -> Result<Self> {
        let (file, needed) = needed(program)?;
        self.copy(&file, path)?;
        for library in needed {
            self.copy(&library.file, &library.path)?;
        }
        Ok(self)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// When there is something already.
    pub fn link(self, path: &str, target: &str) -> Result<Self> {
        symlink(target, self.place(path)?)?;
        Ok(self)
    }

    /// A directory that belongs to `user` and its group of the same number.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(self, path: &str, user: u32) -> Result<Self> {
        let place = self.place(path)?;
        fs::create_dir_all(&place)?;
        chown(&place, Some(user), Some(user))?;
        Ok(self)
    }

    /// Makes it the image `reference` of an engine, with `changes` such as `USER 99`.
    ///
    /// # Errors
    /// When tar or podman fails.
    pub async fn import(&self, engine: &Engine, reference: &str, changes: &[&str]) -> Result<()> {
        let archive = engine.dir().join("import.tar");
        let tar = Command::new("tar")
            .arg("--create")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(self.dir.path())
            .arg(".")
            .output()?;
        if !tar.status.success() {
            bail!("tar: {}", String::from_utf8_lossy(&tar.stderr).trim());
        }
        let mut arguments = vec!["import".to_owned()];
        for change in changes {
            arguments.push(format!("--change={change}"));
        }
        arguments.push(archive.display().to_string());
        arguments.push(reference.to_owned());
        engine.podman(arguments).await?;
        fs::remove_file(archive)?;
        Ok(())
    }

    fn copy(&self, from: &Path, path: &str) -> Result<()> {
        let place = self.place(path)?;
        // Another program may have brought the same library.
        if !place.exists() {
            fs::copy(from, &place).with_context(|| from.display().to_string())?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Where `path` is, with the directories above it.
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.dir.path().join(path.trim_start_matches('/'));
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(place)
    }
}

struct Library {
    file: PathBuf,
    path: String,
}

/// The program's file, and the loader and libraries that it is run with. The loader lists
/// them: `libc.so.6 => /usr/lib/x86_64-linux-gnu/libc.so.6 (0x…)`, itself by the path that the
/// program names it by. A static program has none.
fn needed(program: &Program) -> Result<(PathBuf, Vec<Library>)> {
    let command = program.command();
    let words: Vec<_> = command.get_args().collect();
    let (file, mut list) = match words.last() {
        // A loader, its options, and the program.
        Some(file) => {
            let mut list = Command::new(command.get_program());
            list.arg("--list").args(&words);
            (PathBuf::from(file), list)
        }
        None => {
            let file = PathBuf::from(command.get_program());
            let mut list = Command::new("ldd");
            list.arg(&file);
            (file, list)
        }
    };
    let output = list.output().context("the loader does not run")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut libraries = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, file) = match words.as_slice() {
            [name, "=>", file, ..] => (*name, *file),
            [name, _] if name.starts_with('/') => (*name, *name),
            _ => continue,
        };
        if file == "not" {
            bail!("a library that the program needs is not here: {name}");
        }
        let path = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("{LIBRARIES}/{name}")
        };
        libraries.push(Library {
            file: file.into(),
            path,
        });
    }
    Ok((file, libraries))
}
