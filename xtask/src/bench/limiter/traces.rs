//! What traces cost the agent: user instructions for each decision, by callgrind.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use spop_testkit::web::Web;
use tempfile::TempDir;

use super::Bench;
use super::instructions::per_decision;
use crate::cargo::{Profile, build_agent_with};
use crate::markdown::Table;

/// NOTIFYs in flight, all written at once.
const WINDOWS: [u32; 2] = [1, 16];

/// The agent in a build with traces, where the one without does not overwrite it.
pub(super) struct Traced {
    program: PathBuf,
    _dir: TempDir,
}

impl Traced {
    /// To be built before the one without, which then is where all look for it.
    pub(super) async fn build() -> Result<Self> {
        let built = build_agent_with("spoa-gcra", Profile::Release, "otel").await?;
        let dir = TempDir::with_prefix("bench-traces-")?;
        let program = dir.path().join("spoa-gcra");
        fs::copy(built, &program)?;
        Ok(Self { program, _dir: dir })
    }
}

/// Instructions per decision, by what is traced and as many in flight as in [`WINDOWS`].
pub(super) struct Traces(Vec<(&'static str, Vec<f64>)>);

impl Traces {
    pub(super) async fn count(bench: &Bench, traced: &Traced) -> Result<Self> {
        // To the SDK any answer is good that says 200.
        let collector = Web::start().await?;
        let endpoint = format!("http://{}", collector.addr());
        let sampled = |share| {
            [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", share),
                // So that all are sent, under callgrind too.
                ("OTEL_BSP_MAX_QUEUE_SIZE", "65536"),
                ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ]
        };
        let (few, all) = (sampled("0.01"), sampled("1"));
        let rows = [
            (
                "a build without the feature `otel`",
                &bench.agent,
                [].as_slice(),
            ),
            ("a build with it, no endpoint", &traced.program, &[]),
            ("1 % sampled", &traced.program, &few),
            ("all sampled", &traced.program, &all),
        ];
        let mut counts = Vec::new();
        for (what, program, settings) in rows {
            eprintln!("traces: {what}");
            let mut row = Vec::new();
            for window in WINDOWS {
                row.push(per_decision(program, settings, window).await?);
            }
            counts.push((what, row));
        }
        Ok(Self(counts))
    }

    pub(super) fn section(&self) -> String {
        let heads = WINDOWS.map(|window| format!("{window} in flight"));
        let mut table = Table::new(std::iter::once("traces".to_owned()).chain(heads));
        for (what, row) in &self.0 {
            let numbers = row.iter().map(|count| format!("{count:.0}"));
            table.row(std::iter::once((*what).to_owned()).chain(numbers));
        }
        format!(
            "### User instructions of the agent per decision, with traces\n\n{}\n\nState in memory, \
             one connection; counted by callgrind, without the kernel's, the thread that sends the \
             spans included.\n",
            table.markdown()
        )
    }
}
