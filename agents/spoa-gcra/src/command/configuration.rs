//! What `run` and `check` begin with: the settings, the policies, a logger, a runtime.

use std::path::PathBuf;

use spoa_gcra::policy::{Policies, PolicySource};
use spoa_gcra::settings::Settings;
use spoa_process::log::{self, Log};
use spoa_process::traces::Traces;
use tokio::runtime::Runtime;
use tracing::warn;

use super::Failure;

/// Settings and policies, both good.
pub(super) struct Configuration {
    pub(super) settings: Settings,
    /// Where the policies are read again.
    pub(super) source: PolicySource,
    pub(super) policies: Policies,
    pub(super) log: Log,
    pub(super) traces: Traces,
}

impl Configuration {
    /// Reads them; `config` is the file of policies, if the environment is not to name it.
    /// From here on what is logged is shown.
    pub(super) fn load(config: Option<PathBuf>) -> Result<Self, Failure> {
        let mut settings = Settings::from_env()?;
        if let Some(path) = config {
            settings.read_policies_from(path);
        }
        let traces = Traces::from_env("spoa-gcra")?;
        let log = log::start_with(&settings.log, settings.log_format, &traces);
        for name in &settings.unknown {
            warn!("{name} is set but is no setting of spoa-gcra; see spoa-gcra --help");
        }
        for name in settings.not_followed() {
            warn!(
                "{name} is set but changes nothing: VALKEY_NODES is not set, so the state is in \
                 this process"
            );
        }
        let mut source = settings.policies();
        let policies = source.load()?;
        Ok(Self {
            settings,
            source,
            policies,
            log,
            traces,
        })
    }

    pub(super) fn runtime(&self) -> Result<Runtime, Failure> {
        let threads = self.settings.worker_threads;
        spoa_process::runtime(threads).map_err(|error| Failure::Runtime { threads, error })
    }

    /// What is in force.
    pub(super) fn summary(&self) -> String {
        let (settings, policies) = (self.settings.summary(), self.policies.summary());
        format!("{settings}\npolicies:\n{policies}")
    }
}
