//! The picture: throughput, CPU time, what an attack reaches, and batching.

use anyhow::Result;

use super::Results;
use crate::bench::chart::Picture;

/// As an SVG, of what was measured.
pub(super) fn draw(results: &Results) -> Result<Option<String>> {
    let panels = [
        results.throughput.as_ref().map(|part| part.panel()),
        results.cpu.as_ref().map(|part| part.panel()),
        results.attack.as_ref().map(|part| part.panel()),
        results.batching.as_ref().map(|part| part.panel()),
    ];
    let panels: Vec<_> = panels.into_iter().flatten().collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let picture = Picture {
        title: "A decision of spoa-gcra".to_owned(),
        size: (1200, 760),
        legend: Vec::new(),
        across: 2,
        panels,
    };
    picture.svg().map(Some)
}
