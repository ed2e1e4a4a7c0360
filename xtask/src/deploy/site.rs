//! The files that are checked, each read or rendered once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow};

use super::agent::Agent;
use super::compose::Project;
use super::manifests::Overlay;
use super::{compose, render};

/// One copy of the project.
pub(super) struct Site {
    root: PathBuf,
    overlays: OnceLock<Result<Vec<Overlay>, String>>,
    projects: OnceLock<Result<Vec<Project>, String>>,
    agent: tokio::sync::OnceCell<Agent>,
    versions: Mutex<Vec<String>>,
}

impl Site {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            overlays: OnceLock::new(),
            projects: OnceLock::new(),
            agent: tokio::sync::OnceCell::new(),
            versions: Mutex::default(),
        }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// What a path below the root is called in problems.
    pub(super) fn name(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }

    pub(super) fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.path(file)).map_err(|error| anyhow!("{file}: {error}"))
    }

    /// Every file below `dir`, relative to the root, sorted. What builds leave is passed over.
    pub(super) fn files(&self, dir: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![self.path(dir)];
        while let Some(dir) = dirs.pop() {
            for path in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = path.path();
                let name = path.file_name().unwrap_or_default();
                if path.is_dir() {
                    let is_built = name == "target" || name == "node_modules" || name == ".git";
                    dirs.extend(Some(path).filter(|_| !is_built));
                } else {
                    found.push(self.name(&path));
                }
            }
        }
        found.sort();
        found
    }

    /// Every kustomization below `deploy/`, rendered.
    pub(super) fn overlays(&self) -> Result<&[Overlay]> {
        let rendered = self
            .overlays
            .get_or_init(|| render::all(self).map_err(|error| format!("{error:#}")));
        rendered.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// Those that are applied to clusters.
    pub(super) fn whole_overlays(&self) -> Result<impl Iterator<Item = &Overlay>> {
        Ok(self.overlays()?.iter().filter(|overlay| overlay.is_whole()))
    }

    /// Every compose file, as docker-compose understands it.
    pub(super) fn projects(&self) -> Result<&[Project]> {
        let read = self
            .projects
            .get_or_init(|| compose::all(self).map_err(|error| format!("{error:#}")));
        read.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// Builds and starts the agent, for the checks that ask it.
    pub(super) async fn start_agent(&self) -> Result<()> {
        self.agent.get_or_try_init(Agent::start).await.map(drop)
    }

    pub(super) fn agent(&self) -> Result<&Agent> {
        self.agent
            .get()
            .ok_or_else(|| anyhow!("the agent is not running"))
    }

    /// Remembers what a check was done with, for the summary.
    pub(super) fn used(&self, version: impl Into<String>) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version.into();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }

    pub(super) fn versions(&self) -> Vec<String> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut versions = versions.clone();
        versions.sort();
        versions
    }
}
