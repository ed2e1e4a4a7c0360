//! The picture: CPU time for each NOTIFY as a multiple of the ceiling's.

use std::error::Error;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Results;
use super::agent::Kind;
use super::direct::{Payload, SHAPES};

const SIZE: (u32, u32) = (960, 760);
const FONT: &str = "sans-serif";
/// A group of bars is one wide; some of that is the space beside it.
const GROUP: f64 = 0.86;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// As an SVG, if agents were asked directly.
pub(super) fn draw(results: &Results) -> Result<Option<String>> {
    if results.direct.is_empty() || !results.agents.contains(&Kind::Ceiling) {
        return Ok(None);
    }
    let mut svg = String::new();
    draw_into(&mut svg, results).map_err(|error| anyhow!("the picture: {error}"))?;
    Ok(Some(svg))
}

fn draw_into(svg: &mut String, results: &Results) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    // Solid: the page behind it may be dark.
    root.fill(&WHITE)?;
    let title = "CPU time per NOTIFY, as a multiple of an agent that only copies ids";
    let root = root.margin(12, 0, 0, 0).titled(title, (FONT, 27))?;
    let (legend, panels) = root.split_vertically(34);
    draw_legend(&legend, &results.agents)?;
    let panels = panels.split_evenly((Payload::ALL.len(), 1));
    for (payload, panel) in Payload::ALL.into_iter().zip(&panels) {
        draw_panel(panel, results, payload)?;
    }
    root.present()?;
    Ok(())
}

fn draw_legend(area: &Area<'_>, agents: &[Kind]) -> Result<(), Box<dyn Error>> {
    let text = (FONT, 19).into_font().color(&BLACK);
    let mut x = 60;
    for &agent in agents {
        let square = Rectangle::new([(x, 10), (x + 14, 24)], colour(agent).filled());
        area.draw(&square)?;
        area.draw(&Text::new(agent.name(), (x + 21, 9), text.clone()))?;
        x += 170;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, results: &Results, payload: Payload) -> Result<(), Box<dyn Error>> {
    let ratio = |shape, agent| results.direct.to_ceiling((payload, shape), agent);
    let all = SHAPES.into_iter().flat_map(|shape| {
        results
            .agents
            .iter()
            .filter_map(move |&agent| ratio(shape, agent))
    });
    let highest = all.map(|ratio| ratio.middle).fold(1.0, f64::max);

    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(50)
        .caption(caption(payload), (FONT, 22))
        .build_cartesian_2d(0.0..SHAPES.len() as f64, 0.0..highest * 1.12)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(6)
        .y_label_formatter(&|ratio| format!("{ratio:.0}"))
        .label_style((FONT, 17).into_font().color(&BLACK))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .draw()?;

    let width = GROUP / results.agents.len() as f64;
    let above = text_style(16, VPos::Bottom);
    let below = text_style(18, VPos::Top);
    for (group, shape) in SHAPES.into_iter().enumerate() {
        let middle = group as f64 + 0.5;
        let label = match shape.connections {
            1 => format!("1 connection x {} in flight", shape.window),
            many => format!("{many} connections x {} in flight", shape.window),
        };
        chart.draw_series([
            EmptyElement::at((middle, 0.0)) + Text::new(label, (0, 8), below.clone())
        ])?;
        let left = middle - GROUP / 2.0;
        for (position, &agent) in results.agents.iter().enumerate() {
            let Some(ratio) = ratio(shape, agent) else {
                continue;
            };
            let (from, height) = (left + width * position as f64, ratio.middle);
            let bar = [(from, 0.0), (from + 0.9 * width, height)];
            chart.draw_series([Rectangle::new(bar, colour(agent).filled())])?;
            let top = EmptyElement::at((from + 0.45 * width, height));
            let number = Text::new(number(height), (0, -3), above.clone());
            chart.draw_series([top + number])?;
        }
    }
    Ok(())
}

fn caption(payload: Payload) -> String {
    match payload {
        Payload::Small => "NOTIFY of 53 bytes".to_owned(),
        Payload::Large => "with 2 KiB that nobody reads".to_owned(),
    }
}

fn number(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.1}")
    }
}

fn text_style(size: u32, vertical: VPos) -> TextStyle<'static> {
    let text = (FONT, size).into_font().color(&BLACK);
    text.pos(Pos::new(HPos::Center, vertical))
}

/// Told apart by those who do not see red and green, too.
const fn colour(agent: Kind) -> RGBColor {
    match agent {
        Kind::Minimal => RGBColor(0, 114, 178),
        Kind::MinimalAsync => RGBColor(86, 180, 233),
        Kind::Spop => RGBColor(213, 94, 0),
        Kind::SpopNodelay => RGBColor(230, 159, 0),
        Kind::Ceiling => RGBColor(110, 110, 110),
    }
}
