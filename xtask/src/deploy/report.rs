//! What the checks found, as it is printed.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use super::problem::Problem;

/// Problems, and what was checked with what.
#[derive(Default)]
pub(super) struct Report {
    passed: Vec<String>,
    failed: Vec<String>,
    /// Each once, with the overlays in which it shows.
    problems: BTreeMap<(String, String), Vec<String>>,
    /// Checks that could not run, and why.
    broken: Vec<String>,
    versions: Vec<String>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, check: String, outcome: Result<Vec<Problem>>) {
        match outcome {
            Ok(problems) if problems.is_empty() => self.passed.push(check),
            Ok(problems) => {
                self.failed.push(check);
                for problem in problems {
                    let overlays = self
                        .problems
                        .entry((problem.file, problem.what))
                        .or_default();
                    if !problem.overlay.is_empty() && !overlays.contains(&problem.overlay) {
                        overlays.push(problem.overlay);
                    }
                }
            }
            Err(error) => self
                .broken
                .push(format!("{check} could not run: {error:#}")),
        }
    }

    pub(super) fn set_versions(&mut self, versions: Vec<String>) {
        self.versions = versions;
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((file, what), overlays) in &self.problems {
            let problem = Problem::new(file, what);
            match overlays.as_slice() {
                [] => writeln!(f, "{problem}")?,
                overlays => writeln!(f, "{problem} (in {})", overlays.join(", "))?,
            }
        }
        for broken in &self.broken {
            writeln!(f, "{broken}")?;
        }
        if !self.passed.is_empty() {
            writeln!(f, "passed: {}", self.passed.join(", "))?;
        }
        if !self.failed.is_empty() {
            let problems = self.problems.len();
            writeln!(
                f,
                "failed: {} ({problems} problems)",
                self.failed.join(", ")
            )?;
        }
        for version in &self.versions {
            writeln!(f, "with {version}")?;
        }
        Ok(())
    }
}
