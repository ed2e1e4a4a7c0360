//! Who of those that are compared, and of what asks them, runs on which CPU.

use anyhow::Result;

use crate::bench::cpus;

/// The CPUs that this process may use, and for whom.
pub(super) struct Cpus(cpus::Cpus);

impl Cpus {
    pub(super) fn of_this_process() -> Self {
        Self(cpus::Cpus::of_this_process())
    }

    /// A sentence about where things run.
    pub(super) fn explain(&self) -> String {
        match self.0.numbers() {
            [first, second, third, ..] => format!(
                "Agents are pinned to CPU {second}, what asks them to another: `spop bench` to \
                 CPU {third}; HAProxy (one thread) to CPU {first}, and wrk to CPU {third}."
            ),
            [first, second] => format!(
                "Agents are pinned to CPU {second}, and what asks them to CPU {first}: `spop \
                 bench` or HAProxy (one thread); wrk shares the agents' CPU."
            ),
            _ => "There is one CPU only, which all share: times include waiting for it.".to_owned(),
        }
    }

    pub(super) fn pin_agent(&self, process: u32) -> Result<()> {
        self.0.pin(process, 1)
    }

    /// What asks the agents without HAProxy.
    pub(super) fn pin_load(&self, process: u32) -> Result<()> {
        let third = self.0.numbers().len() > 2;
        self.0.pin(process, if third { 2 } else { 0 })
    }

    pub(super) fn pin_haproxy(&self, process: u32) -> Result<()> {
        self.0.pin(process, 0)
    }

    /// What asks HAProxy.
    pub(super) fn pin_wrk(&self, process: u32) -> Result<()> {
        let third = self.0.numbers().len() > 2;
        self.0.pin(process, if third { 2 } else { 1 })
    }
}
