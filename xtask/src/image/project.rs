//! What Cargo knows of an agent: where it is, what it is made of, under which licences.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cargo::{cargo, output};

/// An agent of a workspace.
#[derive(Debug, Clone)]
pub(super) struct Project {
    /// The agent's name: its package's, its program's, its image's.
    pub agent: String,
    /// The workspace's root.
    pub root: PathBuf,
    /// Where images and what belongs to them are put, in Cargo's target directory.
    pub image_dir: PathBuf,
    /// All packages that the lock file names.
    packages: Vec<Package>,
}

/// A crate.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub name: String,
    pub version: String,
    pub description: String,
    /// An SPDX expression.
    pub license: String,
    pub repository: Option<String>,
    /// The directory that it is in.
    pub dir: PathBuf,
    /// SHA-256 of the file that the registry has; none for crates of the workspace.
    pub checksum: Option<String>,
}

/// What a program is made of: for each crate, by its place in the list, those that it uses
/// itself. The first is the program.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub packages: Vec<Package>,
    pub uses: BTreeMap<usize, BTreeSet<usize>>,
}

impl Project {
    /// The agent `name` of the workspace at `root`, built for `target`.
    ///
    /// # Errors
    /// When Cargo cannot tell, or has no such package.
    pub(super) async fn find(root: &Path, name: &str, target: &str) -> Result<Self> {
        let mut command = cargo(["metadata", "--format-version=1"]);
        command
            .current_dir(root)
            .args(["--filter-platform", target]);
        let metadata = output(&mut command).await?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let text = |value: &Value, field: &str| Some(value.get(field)?.as_str()?.to_owned());
        let checksums = checksums(&root.join("Cargo.lock"))?;

        let mut packages = Vec::new();
        let list = metadata.get("packages").and_then(Value::as_array);
        for package in list.context("Cargo tells no packages")? {
            let about =
                |field| text(package, field).with_context(|| format!("a package without {field}"));
            let manifest = PathBuf::from(about("manifest_path")?);
            let dir = manifest.parent().context("a manifest has a directory")?;
            let (name, version) = (about("name")?, about("version")?);
            packages.push(Package {
                description: text(package, "description").unwrap_or_default(),
                // Before there were expressions, a slash meant "or".
                license: text(package, "license")
                    .unwrap_or_default()
                    .replace(" / ", " OR ")
                    .replace('/', " OR "),
                repository: text(package, "repository"),
                dir: dir.to_path_buf(),
                checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
                name,
                version,
            });
        }
        let target = text(&metadata, "target_directory").context("Cargo tells no target")?;
        let project = Self {
            agent: name.to_owned(),
            root: root.to_path_buf(),
            image_dir: Path::new(&target).join("image"),
            packages,
        };
        project.package(name)?;
        Ok(project)
    }

    /// A crate by its name; of several versions, any.
    pub(super) fn package(&self, name: &str) -> Result<&Package> {
        let mut packages = self.packages.iter();
        packages
            .find(|package| package.name == name)
            .with_context(|| format!("no package is called {name}"))
    }

    /// The crates that are compiled into the agent's program for `target`.
    pub(super) async fn parts(&self, target: &str) -> Result<Parts> {
        // `cargo metadata` would add what other packages of the workspace switch on.
        let mut command = cargo(["tree", "--edges=normal", "--prefix=depth"]);
        command
            .current_dir(&self.root)
            .args(["--package", &self.agent, "--target", target])
            .args(["--charset=ascii", "--format=\t{p}"]);
        let tree = output(&mut command).await?;

        let mut parts = Parts {
            packages: Vec::new(),
            uses: BTreeMap::new(),
        };
        let mut places = HashMap::new();
        // Those that lead to the current line.
        let mut path: Vec<usize> = Vec::new();
        for line in tree.lines() {
            let (depth, name, version) =
                tree_line(line).with_context(|| format!("cargo tree says {line:?}"))?;
            let place = match places.get(&(name, version)) {
                Some(&place) => place,
                None => {
                    let package = self
                        .packages
                        .iter()
                        .find(|package| package.name == name && package.version == version)
                        .with_context(|| format!("Cargo tells nothing about {name} {version}"))?;
                    parts.packages.push(package.clone());
                    places.insert((name, version), parts.packages.len() - 1);
                    parts.packages.len() - 1
                }
            };
            path.truncate(depth);
            if let Some(&user) = path.last() {
                parts.uses.entry(user).or_default().insert(place);
            }
            path.push(place);
        }
        Ok(parts)
    }
}

/// `2<tab>bytes v1.11.0 (*)`: depth, name, version.
fn tree_line(line: &str) -> Option<(usize, &str, &str)> {
    let (depth, package) = line.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some((depth.parse().ok()?, name, version))
}

/// By name and version.
fn checksums(lock: &Path) -> Result<HashMap<(String, String), String>> {
    let text = fs::read_to_string(lock).with_context(|| lock.display().to_string())?;
    let lock: toml::Table = text.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let entry = |package: &toml::Value| {
        let field = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    Ok(packages.into_iter().flatten().filter_map(entry).collect())
}
