//! `spoa-gcra check`: what would be in force.

use spoa_gcra::startup;

use super::Failure;
use super::configuration::Configuration;

pub(super) fn execute(configuration: &Configuration) -> Result<(), Failure> {
    let runtime = configuration.runtime()?;
    runtime.block_on(startup::resolve_nodes(&configuration.settings))?;
    println!("{}", configuration.summary());
    Ok(())
}
