//! `spoa-gcra healthcheck`: what HAProxy's `option spop-check` asks, of the agent on this host.

use spoa_gcra::settings::Settings;
use spoa_process::Listen;

use super::Failure;

/// Ask the agent at SPOE_ADDR whether it is healthy, as HAProxy's `option spop-check` does.
/// Exit code 0 if it is, 1 if not, 2 for a bad setting.
///
/// No other setting is read. Every address of this host (0.0.0.0, [::]) means its loopback
/// address.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The agent's address, in place of SPOE_ADDR.
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<Listen>,
}

pub(super) fn execute(options: Options) -> Result<(), Failure> {
    let listen = match options.addr {
        Some(addr) => addr,
        None => Settings::listen_from_env()?,
    };
    let healthy = spoa_process::healthcheck(&listen, "--addr")?;
    // The exit code is the answer, whether or not the line can be read.
    let _ = super::print(format!("{healthy}\n").as_bytes());
    Ok(())
}
