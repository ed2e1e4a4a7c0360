//! `cargo xtask test`: every check, in order, up to the first that fails.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use spop_testkit::Scratch;
use spop_testkit::tools::{Haproxy, Valkey, workspace_root};

use crate::cargo::{cargo, run as run_cargo};
use crate::{deploy, edges, faults, fuzz, image, links};

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 10;

/// Run every check and every test; what CI runs
///
/// That is formatting, lints, dependency rules, what ships below deploy/, all tests, 10 s of
/// fuzzing for each fuzz target, the documentation and what it points at, up to the first step
/// that fails.
///
/// The end-to-end tests run real HAProxy and Valkey processes on free ports of 127.0.0.1, and
/// containers in namespaces of their own, for which they need to be root. Programs that this
/// machine lacks are unpacked below target/tools (about 10 s each, once); nothing is installed,
/// and nothing keeps running.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out what needs HAProxy, Valkey, cargo-fuzz or any other program
    #[arg(long)]
    quick: bool,
    /// Leave out the step that runs containers, on a machine that cannot (it takes root)
    #[arg(long)]
    without_containers: bool,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut steps = Steps::new();
    if !options.quick {
        steps.run("HAProxy and Valkey", provision()).await?;
    }
    steps.run("format", format()).await?;
    steps.run("lints", lints()).await?;
    steps.run("dependency rules", edges::check()).await?;
    if options.quick {
        steps.run("unit and property tests", tests(&[])).await?;
        let documented = links::check(&[]);
        steps.run("what the pages point at", documented).await?;
    } else {
        steps.run("deployment files", deployment_files()).await?;
        // The same features in every step, so that nothing is compiled twice.
        let units = tests(&["--all-features", "--lib", "--bins"]);
        steps.run("unit and property tests", units).await?;
        let documented = links::check(&["--all-features"]);
        steps.run("what the pages point at", documented).await?;
        // Those that have a step of their own begin with these words.
        let skip = ["--skip", "::fault_", "--skip", "::container_"];
        let mut integration = vec!["--all-features", "--test", "*", "--"];
        integration.extend(skip);
        steps
            .run("integration and end-to-end tests", tests(&integration))
            .await?;
        if !options.without_containers {
            steps.run("the agent's image", agent_image()).await?;
            let containers = tests(&["--all-features", "--test", "containers"]);
            steps.run("containers", containers).await?;
        }
        steps.run("faults under load", fault_tests()).await?;
        let examples = tests(&["--all-features", "--doc"]);
        steps.run("documentation's examples", examples).await?;
        steps.run("fuzzing", fuzz::all(FUZZ_SECONDS)).await?;
    }
    steps.run("documentation", documentation()).await?;
    steps.finish();
    Ok(ExitCode::SUCCESS)
}

async fn provision() -> Result<()> {
    let (engines, _valkey) =
        tokio::task::spawn_blocking(|| anyhow::Ok((Haproxy::all()?, Valkey::find()?))).await??;
    for haproxy in &engines {
        let engine = if haproxy.has_mux_engine() {
            "from 3.1 on"
        } else {
            "up to 3.0"
        };
        println!("HAProxy {} (SPOE engine {engine})", haproxy.version());
    }
    if engines.len() == 1 {
        println!("The distribution's HAProxy is new; the engine of 3.0 and before is not tested.");
    }
    Ok(())
}

async fn format() -> Result<()> {
    run_cargo(&mut cargo(["fmt", "--all", "--check"])).await?;
    run_cargo(&mut fuzz::format()).await
}

async fn lints() -> Result<()> {
    let lints = "clippy --workspace --all-targets --all-features -- -D warnings";
    run_cargo(&mut cargo(lints.split(' '))).await
}

async fn deployment_files() -> Result<()> {
    deploy::check(&workspace_root()).await
}

/// What the container tests run, as it ships: they find it built.
async fn agent_image() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let built = image::agent("spoa-gcra", "release", version).await?;
    println!("{}", built.archive.path.display());
    Ok(())
}

async fn tests(which: &[&str]) -> Result<()> {
    // All that tests leave, should one be killed, goes with this directory.
    let temp = Scratch::new("spop-xtask-test-")?;
    let mut command = cargo(["test", "--workspace"]);
    command.args(which).env("TMPDIR", temp.path());
    run_cargo(&mut command).await
}

/// One at a time: they look at how long answers take.
async fn fault_tests() -> Result<()> {
    faults::round(None).await.map(drop)
}

async fn documentation() -> Result<()> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run_cargo(&mut command).await
}

/// Prints a header before each step and its time after.
struct Steps {
    started: Instant,
    passed: u32,
    bold: bool,
}

impl Steps {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            passed: 0,
            bold: std::io::stdout().is_terminal(),
        }
    }

    async fn run(&mut self, name: &str, step: impl Future<Output = Result<()>>) -> Result<()> {
        let header = format!("==> {}. {name}", self.passed + 1);
        self.say(&header);
        let started = Instant::now();
        step.await.with_context(|| format!("{name} failed"))?;
        println!("    {name}: passed in {}", seconds(started.elapsed()));
        self.passed += 1;
        Ok(())
    }

    fn finish(&self) {
        let all = format!(
            "==> {} steps passed in {}",
            self.passed,
            seconds(self.started.elapsed())
        );
        self.say(&all);
    }

    fn say(&self, line: &str) {
        if self.bold {
            println!("\x1b[1m{line}\x1b[0m");
        } else {
            println!("{line}");
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
