//! `cargo xtask fuzz`: the codec's fuzz targets, for a while.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use spop_testkit::tools::workspace_root;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

use crate::cargo::{cargo, output, run as run_cargo};

/// What an operator's mistake ends with.
const MISTAKE: u8 = 2;

/// The crate that is fuzzed, from the workspace's root.
const CODEC: &str = "crates/spop-codec";

/// Where cargo-fuzz is built if it is missing, in Cargo's target directory.
const TOOL: &str = "tools/cargo-fuzz";

/// How often a long run says that it is under way.
const PULSE: Duration = Duration::from_secs(30);

/// Feed the codec random bytes and check what it makes of them
///
/// Each target of crates/spop-codec/fuzz runs for a while, as many at a time as there are
/// processors. It starts from its seeds and from what earlier runs found worth keeping
/// (fuzz/corpus there). An input that fails is kept in fuzz/artifacts, and the output says
/// how to run it again.
///
/// Stable Rust is enough. cargo-fuzz is built below target/tools where it is missing (about
/// 40 s, once) and the targets below target/fuzz (about 50 s at first). libFuzzer, a part of
/// them, needs a C++ compiler.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each target runs, in seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Which of them run; all if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let all = all_targets()?;
    if let Some(name) = options.targets.iter().find(|name| !all.contains(name)) {
        let all = all.join(", ");
        eprintln!("error: there is no fuzz target {name:?}; there are {all}");
        return Ok(ExitCode::from(MISTAKE));
    }
    let targets = if options.targets.is_empty() {
        all
    } else {
        options.targets
    };
    fuzz(targets, options.seconds).await?;
    Ok(ExitCode::SUCCESS)
}

/// Every target for so many seconds: a step of `cargo xtask test`.
pub(crate) async fn all(seconds: u32) -> Result<()> {
    fuzz(all_targets()?, seconds).await
}

/// The check of the targets' formatting: they are a workspace of their own.
pub(crate) fn format() -> Command {
    let mut command = cargo(["fmt", "--check", "--manifest-path"]);
    command.arg(fuzz_dir().join("Cargo.toml"));
    command
}

async fn fuzz(targets: Vec<String>, seconds: u32) -> Result<()> {
    let fuzzer = Fuzzer::find().await?;
    fuzzer.build(&targets).await?;

    let at_a_time = available_parallelism().map_or(1, usize::from);
    let count = targets.len();
    println!("{count} targets, {seconds} s each, {at_a_time} at a time");
    let mut waiting = targets.into_iter();
    let mut running = JoinSet::new();
    let mut pulse = interval_at(Instant::now() + PULSE, PULSE);
    let mut failed = Vec::new();
    loop {
        for target in waiting.by_ref().take(at_a_time - running.len()) {
            let fuzzer = fuzzer.clone();
            running.spawn(async move {
                let result = fuzzer.run(&target, seconds).await;
                (target, result)
            });
        }
        let (target, result) = tokio::select! {
            ended = running.join_next() => match ended {
                Some(ended) => ended?,
                None => break,
            },
            _ = pulse.tick() => {
                println!("… {} running, {} waiting", running.len(), waiting.len());
                continue;
            }
        };
        match result {
            Ok(executions) => println!("{target:<12} {executions:>11} executions, nothing found"),
            Err(error) => {
                println!("{target:<12} failed");
                eprintln!(
                    "{error:#}\nThis is how, in crates/spop-codec and with target/{TOOL}/bin on PATH."
                );
                failed.push(target);
            }
        }
    }
    if !failed.is_empty() {
        bail!("fuzzing failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The names of the targets, in order.
fn all_targets() -> Result<Vec<String>> {
    let dir = fuzz_dir().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn fuzz_dir() -> PathBuf {
    workspace_root().join(CODEC).join("fuzz")
}

/// cargo-fuzz, and where it builds.
#[derive(Clone)]
struct Fuzzer {
    /// Cargo's target directory.
    target_dir: PathBuf,
    /// `PATH`, with the directory in front where cargo-fuzz may be.
    path: OsString,
}

impl Fuzzer {
    /// The cargo-fuzz that is installed, else one that is built below `target/tools`.
    async fn find() -> Result<Self> {
        has_compiler().await?;
        let own = std::env::current_exe()?;
        let target_dir = own.ancestors().nth(2).context("no target directory")?;
        let tool = target_dir.join(TOOL);
        let before = std::env::var_os("PATH").unwrap_or_default();
        let dirs = [tool.join("bin")].into_iter();
        let fuzzer = Self {
            target_dir: target_dir.to_path_buf(),
            path: std::env::join_paths(dirs.chain(std::env::split_paths(&before)))?,
        };
        let mut version = cargo(["fuzz", "--version"]);
        if output(version.env("PATH", &fuzzer.path)).await.is_err() {
            eprintln!("cargo-fuzz: not here yet, building it below target/tools (about 40 s)");
            // Unoptimised, as it starts other programs and does little else.
            let install = "install cargo-fuzz --version ^0.13 --locked --debug --quiet --root";
            run_cargo(cargo(install.split(' ')).arg(&tool))
                .await
                .context("cargo-fuzz is not here and cannot be had")?;
        }
        Ok(fuzzer)
    }

    async fn build(&self, targets: &[String]) -> Result<()> {
        println!("Building the fuzz targets (about 50 s at first)");
        let mut command = self.command("build");
        if let [only] = targets {
            command.arg(only);
        }
        run_cargo(&mut command).await
    }

    /// Runs a target that was built, and returns how often.
    ///
    /// # Errors
    /// With what the target said about the input that failed.
    async fn run(&self, target: &str, seconds: u32) -> Result<u64> {
        let corpus = fuzz_dir().join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let log = self
            .target_dir
            .join("fuzz")
            .join(target)
            .with_extension("log");
        let mut command = self.command("run");
        command
            .arg(target)
            .arg(corpus)
            .arg(fuzz_dir().join("seeds").join(target))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            // An input that takes 10 s or 512 MiB has failed.
            .args(["-timeout=10", "-rss_limit_mb=512"])
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let result = run_cargo(&mut command).await;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if result.is_err() {
            bail!("{}", what_failed(&said));
        }
        executions(&said).ok_or_else(|| anyhow!("{} does not say how it ended", log.display()))
    }

    /// Such as `cargo fuzz build`, with what is the same for all.
    ///
    /// Without a sanitizer: it looks for what unsafe code does wrong, and there is none here;
    /// no build is as fast, and stable Rust can do it.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = cargo(["fuzz", subcommand, "--sanitizer", "none"]);
        command.current_dir(workspace_root().join(CODEC));
        command
            .arg("--target-dir")
            .arg(self.target_dir.join("fuzz"));
        command.env("PATH", &self.path);
        command
    }
}

/// libFuzzer is compiled where Cargo's `cc` finds a C++ compiler.
async fn has_compiler() -> Result<()> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut command = Command::new(&compiler);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "fuzzing needs a C++ compiler, and there is no {}; type: apt-get install g++",
            Path::new(&compiler).display()
        ),
    }
}

/// The part of a target's output from its complaint on, without cargo-fuzz's own.
fn what_failed(said: &str) -> &str {
    let from = ["panicked at", "ERROR: libFuzzer"];
    let from = from.iter().find_map(|mark| said.find(mark)).unwrap_or(0);
    let said = said.get(from..).unwrap_or(said);
    let end = said.find("Error: Fuzz target exited");
    end.and_then(|end| said.get(..end)).unwrap_or(said)
}

/// The number in libFuzzer's last line, `Done 467800 runs in 11 second(s)`.
fn executions(said: &str) -> Option<u64> {
    let done = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done "))?;
    done.split(' ').next()?.parse().ok()
}
