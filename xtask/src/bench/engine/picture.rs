//! The picture: CPU time for each NOTIFY as a multiple of the ceiling's.

use anyhow::Result;
use plotters::style::RGBColor;

use super::Results;
use super::agent::Kind;
use super::direct::{Payload, SHAPES};
use crate::bench::chart::{Column, Group, Panel, Picture, colours};
use crate::bench::notifies::Shape;

/// As an SVG, if agents were asked directly.
pub(super) fn draw(results: &Results) -> Result<Option<String>> {
    if results.direct.is_empty() || !results.agents.contains(&Kind::Ceiling) {
        return Ok(None);
    }
    let legend = results.agents.iter();
    let picture = Picture {
        title: "CPU time per NOTIFY, as a multiple of an agent that only copies ids".to_owned(),
        size: (960, 760),
        legend: legend
            .map(|&agent| (agent.name().to_owned(), colour(agent)))
            .collect(),
        across: 1,
        panels: Payload::ALL
            .into_iter()
            .map(|payload| panel(results, payload))
            .collect(),
    };
    picture.svg().map(Some)
}

fn panel(results: &Results, payload: Payload) -> Panel {
    let column = |shape, agent| {
        let ratio = results.direct.to_ceiling((payload, shape), agent)?;
        Some(Column {
            height: ratio.middle,
            colour: colour(agent),
        })
    };
    let group = |shape| {
        let agents = results.agents.iter();
        Group {
            text: text(shape),
            columns: agents.filter_map(|&agent| column(shape, agent)).collect(),
        }
    };
    Panel {
        caption: caption(payload),
        groups: SHAPES.into_iter().map(group).collect(),
        mark: None,
    }
}

fn caption(payload: Payload) -> String {
    match payload {
        Payload::Small => "NOTIFY of 53 bytes".to_owned(),
        Payload::Large => "with 2 KiB that nobody reads".to_owned(),
    }
}

fn text(shape: Shape) -> String {
    match shape.connections {
        1 => format!("1 connection x {} in flight", shape.window),
        many => format!("{many} connections x {} in flight", shape.window),
    }
}

const fn colour(agent: Kind) -> RGBColor {
    match agent {
        Kind::Minimal => colours::BLUE,
        Kind::MinimalAsync => colours::SKY,
        Kind::Spop => colours::RED,
        Kind::SpopNodelay => colours::ORANGE,
        Kind::Ceiling => colours::GREY,
    }
}
