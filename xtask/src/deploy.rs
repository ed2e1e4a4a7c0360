//! `cargo xtask deploy`: renders everything that ships below `deploy/` and checks it, with the
//! programs that will read it, up to all problems.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value without such a field gives null"
)]

mod agent;
mod argocd;
mod compose;
mod drain;
mod duration;
mod haproxy;
mod links;
mod manifests;
mod names;
mod pods;
mod ports;
mod problem;
mod references;
mod render;
mod report;
mod schema;
mod security;
mod selectors;
mod settings;
mod site;
mod spoe;
mod systemd;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use spop_testkit::tools::workspace_root;
use tokio::task::JoinHandle;

use problem::Problem;
use report::Report;
use site::Site;

/// Render and check what ships below deploy/
///
/// Renders every Kubernetes overlay, validates it against the schemas of several versions of
/// Kubernetes, has every HAProxy of the tests read every HAProxy file, docker-compose the compose
/// files and systemd the units, and checks that they agree with each other and with the agent.
///
/// Each problem is one line, `FILE: what is wrong and what is expected`. Exit code 1 if there is
/// any. Programs that this machine lacks are unpacked below target/tools; nothing is installed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Another copy of this project's files; the agent is built from this one
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only this check; may be given several times
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
}

/// A part of `cargo xtask deploy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The overlays render
    Render,
    /// Rendered objects fit the schemas, and have no field that these do not know
    Schema,
    /// HAProxy takes its files without a warning
    Haproxy,
    /// What HAProxy asks and reads is what the agent knows and sets
    Names,
    /// Environment variables are ones that the agent or HAProxy's files read
    Settings,
    /// Ports of containers, services, probes, policies and addresses agree
    Ports,
    /// Labels that are selected exist
    Selectors,
    /// ConfigMaps, keys, volumes and accounts that are referred to exist
    References,
    /// Grace periods, lame duck, probes and timeouts fit each other
    Drain,
    /// Pods keep to the restricted Pod Security Standard and to a network policy
    Security,
    /// docker-compose takes the compose files, and what they mount exists
    Compose,
    /// systemd takes the units, hardened as they are
    Systemd,
    /// What Argo CD's Applications name exists
    Argocd,
    /// GitHub's workflows pass actionlint
    Workflows,
    /// Links in Markdown lead somewhere, and commands named there exist
    Links,
}

/// Runs the checks that are asked for and prints what they found.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let root = options.root.unwrap_or_else(workspace_root);
    let checks = match options.only.as_slice() {
        [] => Check::value_variants(),
        only => only,
    };
    let report = report(&root, checks).await?;
    print!("{report}");
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything, as a step of `cargo xtask test`.
///
/// # Errors
/// When there is a problem; each has been printed.
pub(crate) async fn check(root: &Path) -> Result<()> {
    let report = report(root, Check::value_variants()).await?;
    print!("{report}");
    if !report.is_clean() {
        bail!("what ships below deploy/ has mistakes");
    }
    Ok(())
}

/// The checks run side by side: most of the time, each waits for a program.
async fn report(root: &Path, checks: &[Check]) -> Result<Report> {
    let root = std::fs::canonicalize(root)
        .with_context(|| format!("{} is no directory", root.display()))?;
    if !root.join("deploy").is_dir() {
        bail!("{} holds no deploy/", root.display());
    }
    let site = Arc::new(Site::new(root));
    if checks.iter().any(|check| check.asks_the_agent()) {
        site.start_agent().await?;
    }
    let mut running = Vec::new();
    for &check in checks {
        running.push((check, check.start(&site)));
    }
    let mut report = Report::new();
    for (check, outcome) in running {
        let outcome = outcome.await?;
        report.add(check.name(), outcome);
    }
    report.set_versions(site.versions());
    Ok(report)
}

impl Check {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn asks_the_agent(self) -> bool {
        matches!(
            self,
            Self::Names | Self::Settings | Self::Ports | Self::Drain
        )
    }

    fn start(self, site: &Arc<Site>) -> JoinHandle<Result<Vec<Problem>>> {
        let site = Arc::clone(site);
        if self == Self::Names {
            return tokio::spawn(async move { names::check(&site).await });
        }
        tokio::task::spawn_blocking(move || match self {
            Self::Render => render::check(&site),
            Self::Schema => schema::check(&site),
            Self::Haproxy => haproxy::check(&site),
            Self::Names => Ok(Vec::new()),
            Self::Settings => settings::check(&site),
            Self::Ports => ports::check(&site),
            Self::Selectors => selectors::check(&site),
            Self::References => references::check(&site),
            Self::Drain => drain::check(&site),
            Self::Security => security::check(&site),
            Self::Compose => compose::check(&site),
            Self::Systemd => systemd::check(&site),
            Self::Argocd => argocd::check(&site),
            Self::Workflows => workflows::check(&site),
            Self::Links => links::check(&site),
        })
    }
}
