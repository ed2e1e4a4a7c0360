//! What `run` and `check` begin with: the settings, the policies, a logger, a runtime.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use spoa_gcra::policy::{Policies, PolicySource};
use spoa_gcra::settings::Settings;
use tokio::runtime::Runtime;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use super::Failure;

/// Settings and policies, both good.
pub(super) struct Configuration {
    pub(super) settings: Settings,
    /// Where the policies are read again.
    pub(super) source: PolicySource,
    pub(super) policies: Policies,
}

impl Configuration {
    /// Reads them; `config` is the file of policies, if the environment is not to name it.
    /// From here on what is logged is shown.
    pub(super) fn load(config: Option<PathBuf>) -> Result<Self, Failure> {
        let mut settings = Settings::from_env()?;
        if let Some(path) = config {
            settings.read_policies_from(path);
        }
        log_to_stderr(&settings);
        for name in &settings.unknown {
            warn!("{name} is set but is no setting of spoa-gcra; see spoa-gcra --help");
        }
        let mut source = settings.policies();
        let policies = source.load()?;
        Ok(Self {
            settings,
            source,
            policies,
        })
    }

    pub(super) fn runtime(&self) -> Result<Runtime, Failure> {
        let threads = self.settings.worker_threads;
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|error| Failure::Runtime { threads, error })
    }

    /// What is in force.
    pub(super) fn summary(&self) -> String {
        let (settings, policies) = (self.settings.summary(), self.policies.summary());
        format!("{settings}\npolicies:\n{policies}")
    }
}

fn log_to_stderr(settings: &Settings) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.log))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
