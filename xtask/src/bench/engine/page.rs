//! The tables, in Markdown: on standard output, and in the page of spop-server.

use std::fmt::Write as _;

use anyhow::Result;

use super::agent::Kind;
use super::bars::bars;
use super::direct::{Payload, cells};
use super::{Results, picture, proxied};
use crate::bench::bar::Bar;
use crate::bench::notifies::Turn;
use crate::bench::{Spread, requests};
use crate::markdown::Table;
use crate::page::{Page, machine};

const PAGE: Page = Page {
    path: "crates/spop-server/PERFORMANCE.md",
    picture: Some("crates/spop-server/performance.svg"),
    begin: "<!-- begin: cargo xtask bench engine --write -->",
};

/// Puts the figures into the page, and their picture beside it.
pub(super) fn write(results: &Results) -> Result<()> {
    PAGE.write(&figures(results), picture::draw(results)?)
}

/// All that was measured.
pub(super) fn figures(results: &Results) -> String {
    let mut text = conditions(results);
    for section in [
        Bar::section(bars(results), ["`minimal`", "at most"]),
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_a_place_for_figures() {
        super::PAGE.check();
    }
}
