//! spoa-gcra as a process, set up to be measured.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use spop_testkit::agent::{self, Agent};
use spop_testkit::port;
use spop_testkit::process::{Process, Signal};
use spop_testkit::tools::Program;

use super::{Bench, callgrind};

/// An agent listens within 50 ms; the rest is for valgrind on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thread that serves, since it has one CPU. And a budget that no pause of a busy machine
/// uses up: what is measured is the way through Valkey, not the way around it.
const SETTINGS: [(&str, &str); 2] = [
    ("TOKIO_WORKER_THREADS", "1"),
    ("SPOA_DECISION_BUDGET", "1000"),
];

/// An agent with these settings, where agents run.
pub(super) async fn start(bench: &Bench, settings: &[(&str, &str)]) -> Result<Agent> {
    let mut setup = agent::Setup::new(&bench.agent);
    for (name, value) in SETTINGS.iter().chain(settings) {
        setup = setup.set(name, value);
    }
    let agent = setup.start().await?;
    bench.pin_agent(agent.process().id())?;
    Ok(agent)
}

/// An agent whose instructions callgrind counts.
pub(super) struct Counted {
    process: Process,
    pub(super) addr: SocketAddr,
}

impl Counted {
    pub(super) async fn start(agent: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let addr = port::free_addr()?;
        let valgrind = Program::at(callgrind::PROGRAM);
        let process = Process::spawn("spoa-gcra", &valgrind, |command| {
            command
                .args(callgrind::ARGUMENTS)
                .arg(agent)
                .env("SPOE_ADDR", addr.to_string())
                .envs(SETTINGS)
                .envs(settings.iter().copied());
        })?;
        process.line("listening on", PATIENCE).await?;
        Ok(Self { process, addr })
    }

    /// Ends it in an orderly way and says how many there were.
    pub(super) async fn end(self) -> Result<f64> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(PATIENCE).await?;
        let said = self.process.log().join("\n");
        if said.contains("traces are lost") || said.contains("takes no traces") {
            bail!("not all is sent that is to be counted:\n{said}");
        }
        callgrind::instructions(&said)
    }
}
