//! `spoa-gcra print-config`: everything that can be set.

use spoa_gcra::settings;

use super::Failure;

/// Print all settings with what they mean, what they accept and their defaults, as a file of
/// environment variables to begin with.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Print a file of policies to begin with instead, for SPOA_CONFIG.
    #[arg(long)]
    policies: bool,
}

pub(super) fn execute(options: &Options) -> Result<(), Failure> {
    if options.policies {
        let example = include_str!("../../policies.example.toml");
        return super::print(example.as_bytes());
    }
    super::print(settings::environment_file().as_bytes())
}
