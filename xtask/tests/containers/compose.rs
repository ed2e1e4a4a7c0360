//! compose.yaml: HAProxy, one agent, a web service.

use std::ffi::OsString;
use std::process::Stdio;

use anyhow::{Result, bail};
use spop_testkit::containers::Engine;
use spop_testkit::tools::{self, workspace_root};
use tokio::process::Command;

use crate::images;
use crate::site::{SLOW, Site, limited};

/// A compose file, and the program that brings it up.
pub(crate) struct Compose<'e> {
    engine: &'e Engine,
    /// What every command begins with.
    words: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    file: &'static str,
}

pub(crate) enum Program {
    Docker,
    Podman,
}

impl<'e> Compose<'e> {
    /// `file` of deploy/compose.
    pub(crate) fn new(engine: &'e Engine, program: Program, file: &'static str) -> Self {
        let mut environment = Vec::new();
        let command = match program {
            Program::Docker => tools::compose().unwrap().command(),
            Program::Podman => {
                let (program, modules) = tools::podman_compose().unwrap();
                environment.push(("PYTHONPATH", modules.into_os_string()));
                let mut python = std::process::Command::new("python3");
                python.args(program.command().get_program().to_str());
                python
            }
        };
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Self {
            engine,
            words: words.map(OsString::from).collect(),
            environment,
            file,
        }
    }

    /// Runs a command such as `up --detach`, with a limit that does not refill.
    pub(crate) async fn run(&self, arguments: &str) -> Result<()> {
        let mut command = self.engine.command(&tools::Program::at(&self.words[0]));
        command
            .args(&self.words[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .arg("--file")
            .arg(workspace_root().join("deploy/compose").join(self.file))
            .args(arguments.split(' '))
            .envs(SLOW)
            .env("HAPROXY_IMAGE", images::HAPROXY)
            .env("WEB_IMAGE", images::HAPROXY)
            .env("VALKEY_IMAGE", images::VALKEY)
            // What is decided is the question here, not how fast a busy machine does it.
            .env("SPOE_TIMEOUT", "2s")
            .env("SPOA_DECISION_BUDGET", "1000")
            .stdin(Stdio::null());
        let output = Command::from(command).kill_on_drop(true).output().await?;
        if !output.status.success() {
            bail!("{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

#[test]
fn container_site_of_docker_compose_is_limited_and_taken_down_whole() {
    up_and_down(Program::Docker);
}

#[test]
fn container_site_of_podman_compose_is_so_too() {
    up_and_down(Program::Podman);
}

fn up_and_down(program: Program) {
    let engine = images::engine();
    let compose = Compose::new(&engine, program, "compose.yaml");
    let work = async || {
        compose.run("up --detach").await.unwrap();
        let site = Site::published();
        site.ready(1).await;
        assert_eq!(site.statuses("192.0.2.1", 15).await, limited(15));

        compose.run("down --volumes").await.unwrap();
        for list in [
            "ps --all --quiet",
            "volume ls --quiet",
            "network ls --quiet --filter name=rate-limit",
        ] {
            let left = engine.podman(list.split(' ')).await.unwrap();
            assert_eq!(left, "", "{list}");
        }
    };
    engine.run(work).unwrap();
}
