//! The tables, in Markdown: on standard output, and in the page of the agent.

use anyhow::Result;

use super::{Bench, Results, picture};
use crate::bench::bar::Bar;
use crate::page::{Page, machine};

const PAGE: Page = Page {
    path: "agents/spoa-gcra/PERFORMANCE.md",
    picture: Some("agents/spoa-gcra/performance.svg"),
    begin: "<!-- begin: cargo xtask bench limiter --write -->",
};

/// Puts the figures into the page, and their picture beside it.
pub(super) fn write(figures: &str, results: &Results) -> Result<()> {
    PAGE.write(figures, picture::draw(results)?)
}

/// All that was measured.
pub(super) fn figures(bench: &Bench, results: &Results) -> String {
    let Results {
        throughput,
        cpu,
        instructions,
        traces,
        batching,
        attack,
        memory,
        primaries,
        start,
    } = results;
    let bars = [
        throughput.as_ref().map(|part| part.bars()),
        cpu.as_ref().map(|part| part.bars()),
        attack.as_ref().map(|part| part.bars()),
        memory.as_ref().map(|part| part.bars()),
        start.as_ref().map(|part| part.bars()),
    ];
    let bars = bars.into_iter().flatten().flatten().collect();
    let sections = [
        throughput.as_ref().map(|part| part.section()),
        cpu.as_ref().map(|part| part.section()),
        instructions.as_ref().map(|part| part.section()),
        traces.as_ref().map(|part| part.section()),
        batching.as_ref().map(|part| part.section()),
        attack.as_ref().map(|part| part.section()),
        memory.as_ref().map(|part| part.section()),
        primaries.as_ref().map(|part| part.section()),
        start.as_ref().map(|part| part.section()),
    ];
    let mut text = format!(
        "{}, {}, load average {} before the start. {} rounds with turns of {:?}. Medians, with lowest and highest. Agents have \
         one thread that serves. {}\n",
        bench.valkey,
        machine(),
        bench.load_average,
        bench.rounds,
        bench.turn,
        bench.explain(),
    );
    let to_reach = Bar::section(bars, ["", "to reach"]);
    for section in std::iter::once(to_reach).chain(sections.into_iter().flatten()) {
        if !section.is_empty() {
            text.push('\n');
            text.push_str(&section);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_a_place_for_figures() {
        super::PAGE.check();
    }
}
