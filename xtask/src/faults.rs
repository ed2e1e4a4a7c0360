//! `cargo xtask faults`: the fault tests of the rate limiter, one at a time, and what they
//! report as a table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::cargo::{cargo, run as run_cargo};
use crate::markdown::Table;
use crate::page::Page;

const PAGE: Page = Page {
    path: "agents/spoa-gcra/FAULTS.md",
    picture: None,
    begin: "<!-- begin: cargo xtask faults --write -->",
};

/// Kill, freeze, cut off and mislead Valkey under load, and see what the limiter makes of it
///
/// Each fault is a test on a cluster of its own, three primaries with a replica each, under
/// load through the real agent: every request must be answered in time, clients on other
/// shards must not notice, nobody may be admitted more than the limit and a stated excess,
/// and all must be well again by itself. The first fault that breaks a rule ends the run with
/// what the test and the agent said. A round takes about two minutes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each fault happens
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only the tests with this in their name, such as `frozen` or `network`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Put the table into agents/spoa-gcra/FAULTS.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut faults = Faults::default();
    for number in 1..=options.rounds {
        if options.rounds > 1 {
            eprintln!("round {number} of {}", options.rounds);
        }
        faults.add(&round(options.only.as_deref()).await?)?;
    }
    if faults.0.is_empty() {
        let only = options.only.unwrap_or_default();
        bail!("--only {only}: no fault test has that in its name");
    }
    println!("\n{}\n", faults.table());
    if options.write {
        PAGE.write(&faults.section(options.rounds), None)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every fault once; the lines that the tests wrote.
pub(crate) async fn round(only: Option<&str>) -> Result<String> {
    // All that tests leave, should one be killed, goes with this directory. In memory: how
    // fast the disk is must not matter.
    let memory = Path::new("/dev/shm");
    let temp = match memory.is_dir() {
        true => TempDir::with_prefix_in("xtask-faults-", memory),
        false => TempDir::with_prefix("xtask-faults-"),
    }?;
    let report = temp.path().join("report");
    // The package and features as in `cargo xtask test`, so that nothing is compiled twice.
    let mut command = cargo(["test", "--workspace", "--all-features", "--test", "faults"]);
    command.args(["--", "--test-threads=1"]).args(only);
    command.env("TMPDIR", temp.path());
    command.env("SPOA_FAULTS_REPORT", &report);
    run_cargo(&mut command).await?;
    read(&report)
}

fn read(report: &Path) -> Result<String> {
    if !report.exists() {
        return Ok(String::new());
    }
    Ok(fs::read_to_string(report)?)
}

/// What became of each fault, in the order of the tests.
#[derive(Default)]
struct Faults(Vec<Fault>);

struct Fault {
    name: String,
    guarantee: String,
    /// One for each round.
    reports: Vec<Value>,
}

impl Faults {
    fn add(&mut self, lines: &str) -> Result<()> {
        for line in lines.lines() {
            let report: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let text = |key: &str| {
                let text = report.get(key).and_then(Value::as_str);
                text.map(str::to_owned)
                    .with_context(|| format!("no {key} in {line}"))
            };
            let (name, guarantee) = (text("fault")?, text("guarantee")?);
            match self.0.iter_mut().find(|fault| fault.name == name) {
                Some(fault) => fault.reports.push(report),
                None => self.0.push(Fault {
                    name,
                    guarantee,
                    reports: vec![report],
                }),
            }
        }
        Ok(())
    }

    fn table(&self) -> String {
        let heads = [
            "fault",
            "requests",
            "lost",
            "judged",
            "late",
            "excess",
            "allowed",
            "waits end, ms",
            "back, ms",
        ];
        let mut table = Table::new(heads);
        for fault in &self.0 {
            table.row(fault.row());
        }
        table.markdown()
    }

    /// All that goes into the page.
    fn section(&self, rounds: u32) -> String {
        let rounds = match rounds {
            1 => "One round.".to_owned(),
            rounds => format!(
                "{rounds} rounds: sums of requests, lost, judged and late; of the rest the median and the range."
            ),
        };
        let mut section = format!("{rounds}\n\n{}\n\n", self.table());
        for fault in &self.0 {
            let _ = writeln!(section, "* **{}.** {}", fault.name, fault.guarantee);
        }
        section
    }
}

impl Fault {
    fn row(&self) -> [String; 9] {
        let sum = |key| self.numbers(key).iter().sum::<f64>().to_string();
        [
            self.name.clone(),
            sum("requests"),
            match self.numbers("void").iter().sum::<f64>() {
                0.0 => sum("lost"),
                void => format!("{} ({void} in flight to it)", sum("lost")),
            },
            sum("judged"),
            sum("late"),
            range(self.numbers("excess")),
            range(self.numbers("excess_allowed")),
            range(self.numbers("to_fallback_ms")),
            range(self.numbers("to_recover_ms")),
        ]
    }

    /// The rounds in which it has a value.
    fn numbers(&self, key: &str) -> Vec<f64> {
        let reports = self.reports.iter();
        reports
            .filter_map(|report| report.get(key)?.as_f64())
            .collect()
    }
}

/// `12`, or `12 [9–15]` of several values, or `-` of none.
fn range(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "-".to_owned();
    };
    let middle = values.get(values.len() / 2).unwrap_or(most);
    if least == most {
        format!("{middle:.0}")
    } else {
        format!("{middle:.0} [{least:.0}–{most:.0}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_a_fault_are_one_row() {
        let mut faults = Faults::default();
        let line = |requests: u32, back: &str| {
            format!(
                r#"{{"fault":"frozen","guarantee":"None.","requests":{requests},"lost":0,"judged":900,"late":1,
                    "excess":3.4,"excess_allowed":20,"to_fallback_ms":null,"to_recover_ms":{back}}}"#
            )
            .replace('\n', "")
        };
        for back in ["7", "300", "12"] {
            faults.add(&line(1000, back)).unwrap();
        }
        let table = faults.table();
        let row: Vec<&str> = table
            .lines()
            .last()
            .unwrap()
            .split('|')
            .map(str::trim)
            .collect();
        assert_eq!(
            row[1..10],
            [
                "frozen",
                "3000",
                "0",
                "2700",
                "3",
                "3",
                "20",
                "-",
                "12 [7–300]"
            ]
        );
        assert!(faults.section(3).contains("* **frozen.** None."));
    }

    #[test]
    fn the_page_has_a_place_for_the_table() {
        PAGE.check();
    }
}
