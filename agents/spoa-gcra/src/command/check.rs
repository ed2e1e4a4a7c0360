//! `spoa-gcra check`: what would be in force, and what can be reached.

use spoa_gcra::{reach, startup};

use super::configuration::Configuration;
use super::{Config, Failure};

/// Check the settings and the file of policies, and print what would be in force, without
/// serving.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) config: Config,
    /// Also ask whether each Valkey node answers and each primary would decide, with the rights
    /// that the user has, and whether the addresses could be listened on now: not while an
    /// agent does. A line for each; exit code 1 if one is out of reach.
    #[arg(long)]
    pub(super) reach: bool,
}

pub(super) fn execute(reach: bool, configuration: &Configuration) -> Result<(), Failure> {
    let runtime = configuration.runtime()?;
    let settings = &configuration.settings;
    settings.listen.warn_if_too_long_for_haproxy();
    let out_of_reach = runtime.block_on(async {
        if !reach {
            startup::resolve_nodes(settings).await?;
            super::print(format!("{}\n", configuration.summary()).as_bytes())?;
            return Ok::<_, Failure>(0);
        }
        super::print(format!("{}\nreach:\n", configuration.summary()).as_bytes())?;
        let findings = reach::all(settings).await;
        for finding in &findings {
            super::print(format!("  {finding}\n").as_bytes())?;
        }
        Ok(findings.iter().filter(|finding| !finding.is_good()).count())
    })?;
    // A resolver may still be busy on a thread of its own.
    runtime.shutdown_background();
    match out_of_reach {
        0 => Ok(()),
        count => Err(Failure::OutOfReach(count)),
    }
}
