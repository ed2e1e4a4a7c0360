//! `cargo xtask bench codec`: spop-codec beside the published crate `spop`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use spop_testkit::tools::workspace_root;

use super::callgrind;
use crate::cargo::{build_bench, cargo, run as run_cargo};

/// Frames of one batch, as in the benchmark's `support::BATCH`.
const BATCH: f64 = 16.0;

/// Decoding, visiting and encoding, in time and in instructions, beside the crate `spop`
///
/// Times are criterion's, of batches of 16 frames as a pipelining HAProxy sends them, both
/// crates in one run. Instructions are callgrind's, which do not depend on what else the
/// machine does; they are left out where valgrind is missing.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each case is measured, in seconds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// A case of this crate, and the same work by `spop` if it can do it.
struct Case {
    title: &'static str,
    /// Group and name in criterion's benchmark; frames that one iteration handles.
    timed: (&'static str, &'static str, f64),
    /// Name in the instruction benchmark.
    counted: &'static str,
    /// Whether `spop` does it, too.
    compared: bool,
    /// The ratio to reach.
    bar: Option<f64>,
}

const CASES: [Case; 4] = [
    Case {
        title: "NOTIFY, 5 arguments: decode and visit every value",
        timed: ("notify", "decode+visit", BATCH),
        counted: "decode-visit",
        compared: true,
        bar: Some(7.0),
    },
    Case {
        title: "NOTIFY, 2 KiB that nobody reads: decode",
        timed: ("notify", "decode 2 KiB", BATCH),
        counted: "decode-2k",
        compared: true,
        bar: None,
    },
    Case {
        title: "ACK, 1 variable: build and encode",
        timed: ("ack", "encode", 1.0),
        counted: "ack",
        compared: true,
        bar: None,
    },
    Case {
        title: "connection: a 16th of HELLO, 16 NOTIFY, 16 ACK",
        timed: ("connection", "hello and 16 notify", BATCH),
        counted: "exchange",
        compared: false,
        bar: None,
    },
];

pub(crate) async fn run(options: Options) -> Result<()> {
    let bench = ["bench", "-p", "spop-codec", "--bench", "codec", "--"];
    let mut command = cargo(bench);
    command.args([
        "--noplot",
        "--measurement-time",
        &options.seconds.to_string(),
    ]);
    run_cargo(&mut command).await?;
    let counter = Counter::build().await?;

    println!("\nper frame");
    println!(
        "{:<50} {:>10} {:>10} {:>7}   {:>12} {:>8} {:>7}",
        "", "ns", "spop", "ratio", "instructions", "spop", "ratio"
    );
    for case in &CASES {
        let (group, name, frames) = case.timed;
        let ours = nanos(group, name)? / frames;
        let theirs = match case.compared {
            true => Some(nanos(group, &format!("{name} (spop)"))? / frames),
            false => None,
        };
        let counted = counter.count(case.counted).await?;
        let counted_theirs = match case.compared {
            true => counter.count(&format!("{}-spop", case.counted)).await?,
            false => None,
        };
        println!(
            "{:<50} {ours:>10.1} {:>10} {:>7}   {:>12} {:>8} {:>7}",
            case.title,
            shown(theirs, 1),
            shown(theirs.map(|theirs| theirs / ours), 1),
            shown(counted, 0),
            shown(counted_theirs, 0),
            shown(
                counted_theirs
                    .zip(counted)
                    .map(|(theirs, ours)| theirs / ours),
                1
            ),
        );
        if let (Some(bar), Some(theirs)) = (case.bar, theirs) {
            let ratio = theirs / ours;
            let verdict = if ratio >= bar {
                "reached"
            } else {
                "not reached"
            };
            println!("  to reach: {bar} times as fast; {verdict}");
        }
    }
    Ok(())
}

fn shown(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}

/// The median that criterion wrote down for a benchmark, in ns per iteration.
fn nanos(group: &str, name: &str) -> Result<f64> {
    // criterion's way to make a directory's name.
    let name = name.replace(['/', '?', '"', '\\', '*', '<', '>', ':', '|', '^'], "_");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), PathBuf::from);
    let path = target
        .join("criterion")
        .join(group)
        .join(name)
        .join("new/estimates.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let estimates: serde_json::Value = serde_json::from_str(&text)?;
    estimates
        .pointer("/median/point_estimate")
        .and_then(serde_json::Value::as_f64)
        .with_context(|| format!("{}: no median", path.display()))
}

/// Counts instructions with callgrind, if there is one.
struct Counter {
    program: Option<PathBuf>,
}

impl Counter {
    async fn build() -> Result<Self> {
        let program = match callgrind::is_here() {
            true => Some(build_bench("spop-codec", "instructions").await?),
            false => None,
        };
        Ok(Self { program })
    }

    /// Instructions per frame: the difference between two runs of different lengths.
    async fn count(&self, case: &str) -> Result<Option<f64>> {
        const FEW: u32 = 100;
        const MANY: u32 = 1100;
        let Some(program) = &self.program else {
            return Ok(None);
        };
        let count = async |times: u32| -> Result<f64> {
            let output = tokio::process::Command::new(callgrind::PROGRAM)
                .args(callgrind::ARGUMENTS)
                .arg(program)
                .args([case, &times.to_string()])
                .kill_on_drop(true)
                .output()
                .await?;
            callgrind::instructions(&String::from_utf8_lossy(&output.stderr))
        };
        let difference = count(MANY).await? - count(FEW).await?;
        Ok(Some(difference / f64::from(MANY - FEW) / BATCH))
    }
}
