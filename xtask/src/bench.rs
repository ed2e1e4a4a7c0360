//! `cargo xtask bench`: the figures in the docs, measured again.

mod bar;
mod callgrind;
mod chart;
mod codec;
mod cpus;
mod engine;
mod haproxy;
mod limiter;
mod notifies;
mod requests;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cargo::{cargo, run as run_cargo};

/// Measure what the docs state
///
/// Comparisons are made side by side in one run, in turns, because machines are noisy: trust
/// the ratios.
#[derive(Subcommand)]
pub(crate) enum Benchmark {
    Codec(codec::Options),
    Engine(engine::Options),
    Haproxy(haproxy::Options),
    Limiter(limiter::Options),
}

pub(crate) async fn run(benchmark: Benchmark) -> Result<ExitCode> {
    if cfg!(debug_assertions) && matches!(benchmark, Benchmark::Haproxy(_)) {
        // This program serves the pages and reads the clocks: it must not be what is slow.
        eprintln!("Building the benchmarks (profile release)");
        let mut command = cargo(["run", "--quiet", "--release", "--package", "xtask", "--"]);
        command.args(std::env::args_os().skip(1));
        run_cargo(&mut command).await?;
        return Ok(ExitCode::SUCCESS);
    }
    match benchmark {
        Benchmark::Codec(options) => codec::run(options).await?,
        Benchmark::Engine(options) => engine::run(options).await?,
        Benchmark::Haproxy(options) => haproxy::run(options).await?,
        Benchmark::Limiter(options) => limiter::run(options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The middle of some values, and their range: `12.3 [11.8–14.0]`.
pub(crate) fn median(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Spread {
        low: at(0),
        middle: at(values.len() / 2),
        high: at(values.len().saturating_sub(1)),
    }
}

/// See [`median`].
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    low: f64,
    middle: f64,
    high: f64,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As many digits as say something.
        let digits = match self.middle {
            ..10.0 => 2,
            ..1000.0 => 1,
            _ => 0,
        };
        let text = format!(
            "{:.digits$} [{:.digits$}–{:.digits$}]",
            self.middle, self.low, self.high
        );
        f.pad(&text)
    }
}
