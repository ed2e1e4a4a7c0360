//! The tables, in Markdown: on standard output, and in the page of spop-server.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use spop_testkit::tools::workspace_root;

use super::agent::Kind;
use super::bars::bars;
use super::direct::{Payload, Turn, cells};
use super::{Results, picture, proxied};
use crate::bench::{Spread, requests};

/// In this workspace. What is between the two lines is replaced, and nothing else.
const PAGE: &str = "crates/spop-server/PERFORMANCE.md";
const PICTURE: &str = "crates/spop-server/performance.svg";
const BEGIN: &str = "<!-- begin: cargo xtask bench engine --write -->";
const END: &str = "<!-- end -->";

/// Puts the figures into the page, and their picture beside it.
pub(super) fn write(results: &Results) -> Result<()> {
    let path = workspace_root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| PAGE)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{PAGE} has no line {END}"))?;
    let figures = figures(results);
    fs::write(&path, format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))?;
    eprintln!("wrote {PAGE}");
    if let Some(svg) = picture::draw(results)? {
        fs::write(workspace_root().join(PICTURE), svg)?;
        eprintln!("wrote {PICTURE}");
    }
    Ok(())
}

/// All that was measured.
pub(super) fn figures(results: &Results) -> String {
    let mut text = conditions(results);
    for section in [
        to_reach(results),
        direct(results),
        instructions(results),
        proxied(results),
    ] {
        if !section.is_empty() {
            text.push('\n');
            text.push_str(&section);
        }
    }
    text
}

fn conditions(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!("{}. ", machine());
    if !results.direct.is_empty() {
        let _ = write!(
            text,
            "{} rounds with turns of {:?}. ",
            plan.rounds, plan.turn
        );
    }
    if !results.proxied.is_empty() {
        let (rounds, seconds) = (plan.haproxy_rounds, plan.haproxy_seconds);
        let _ = write!(text, "Through HAProxy: {rounds} of {seconds} s. ");
    }
    let _ = writeln!(
        text,
        "Medians, with lowest and highest. Each agent has one thread. {}\n",
        results.pinned
    );
    for agent in &results.agents {
        let _ = writeln!(text, "* `{}`: {}", agent.name(), agent.what());
    }
    text
}

/// What it was measured on, as far as the system says.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let system = read("/proc/sys/kernel/osrelease");
    format!(
        "{cpus} CPUs ({}), Linux {}",
        model.map_or("unknown", |(_, model)| model),
        system.split('-').next().unwrap_or_default().trim()
    )
}

fn to_reach(results: &Results) -> String {
    let bars = bars(results);
    if bars.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["`minimal`", "at most", "measured", ""]);
    for bar in bars {
        let verdict = bar.verdict();
        table.row([bar.what, bar.most, bar.measured, verdict.to_owned()]);
    }
    format!("### To reach\n\n{}\n", table.markdown())
}

fn direct(results: &Results) -> String {
    let direct = &results.direct;
    if direct.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "payload",
        "connections x window",
        "agent",
        "kNOTIFY/s",
        "CPU µs/NOTIFY",
        "x ceiling",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
    ]);
    let shown = |spread: Option<Spread>| spread.map_or_else(String::new, |it| it.to_string());
    for (payload, shape) in cells() {
        for &agent in &results.agents {
            let of =
                |value: &dyn Fn(&Turn) -> f64| shown(direct.spread((payload, shape), agent, value));
            table.row([
                payload.to_string(),
                shape.to_string(),
                agent.name().to_owned(),
                of(&|turn| turn.per_second / 1e3),
                of(&|turn| turn.cpu),
                shown(direct.to_ceiling((payload, shape), agent)),
                of(&|turn| turn.p50),
                of(&|turn| turn.p99),
                of(&|turn| turn.p999),
            ]);
        }
    }
    format!(
        "### Asked directly\n\n{}\n\nA closed loop: each connection keeps so many NOTIFYs in \
         flight. Latency includes waiting for the NOTIFYs in front.\n",
        table.markdown()
    )
}

fn instructions(results: &Results) -> String {
    let instructions = &results.instructions;
    if instructions.is_empty() {
        return String::new();
    }
    let columns = || {
        let windows = results.plan.windows.iter();
        Payload::ALL
            .into_iter()
            .flat_map(move |payload| windows.clone().map(move |&window| (payload, window)))
    };
    let heads = columns().map(|(payload, window)| format!("{payload}, {window} in flight"));
    let mut table = Table::new(std::iter::once("agent".to_owned()).chain(heads));
    for &agent in &results.agents {
        let counts = columns().map(|(payload, window)| {
            let count = instructions.get(agent, payload, window);
            count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
        });
        table.row(std::iter::once(agent.name().to_owned()).chain(counts));
    }
    format!(
        "### User instructions per NOTIFY\n\n{}\n\nOne connection; counted by callgrind, without \
         the kernel's. `spop-nodelay` is the same code as `spop`.\n",
        table.markdown()
    )
}

fn proxied(results: &Results) -> String {
    if results.proxied.is_empty() {
        return String::new();
    }
    let heads = ["HAProxy", "agent"]
        .into_iter()
        .chain(requests::Turn::COLUMNS);
    let mut table = Table::new(heads);
    for proxied in &results.proxied {
        let names = [
            proxied.haproxy.clone(),
            proxied.agent.map_or("nobody asked", Kind::name).to_owned(),
        ];
        table.row(names.into_iter().chain(requests::Turn::row(&proxied.turns)));
    }
    format!(
        "### Behind HAProxy\n\n{}\n\n{} clients of wrk in a closed loop; every request asks the \
         agent, with `timeout processing 15ms`. Undecided: those that had no answer in time.\n",
        table.markdown(),
        proxied::CONNECTIONS,
    )
}

/// A table whose columns are as wide as they need to be, to be read as text, too.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let heads: Vec<String> = heads.into_iter().map(Into::into).collect();
        let rule = heads.iter().map(|_| "---".to_owned()).collect();
        Self(vec![heads, rule])
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    fn markdown(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["a", "µs"]);
        table.row(["long".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.markdown(),
            "| a    | µs  |\n| ---  | --- |\n| long | 1   |"
        );
    }

    #[test]
    fn the_page_has_a_place_for_figures() {
        let page = fs::read_to_string(workspace_root().join(PAGE)).unwrap();
        let (_, rest) = page.split_once(BEGIN).unwrap();
        assert!(rest.contains(END));
        assert!(page.contains("](performance.svg)"), "the picture is shown");
    }
}
