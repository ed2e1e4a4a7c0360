//! Bar charts as SVG.

use std::error::Error;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const FONT: &str = "sans-serif";
/// A group of columns is one wide; some of that is the space beside it.
const GROUP: f64 = 0.86;
/// Below the columns, for one line of text.
const LINE: i32 = 20;

/// Told apart by those who do not see red and green, too.
pub(super) mod colours {
    use plotters::style::RGBColor;

    pub(in crate::bench) const BLUE: RGBColor = RGBColor(0, 114, 178);
    pub(in crate::bench) const SKY: RGBColor = RGBColor(86, 180, 233);
    pub(in crate::bench) const RED: RGBColor = RGBColor(213, 94, 0);
    pub(in crate::bench) const ORANGE: RGBColor = RGBColor(230, 159, 0);
    pub(in crate::bench) const GREY: RGBColor = RGBColor(110, 110, 110);
}

/// Some panels under one title.
pub(super) struct Picture {
    pub(super) title: String,
    /// Of the whole, in pixels.
    pub(super) size: (u32, u32),
    /// What colours mean; empty if the texts below the columns say enough.
    pub(super) legend: Vec<(String, RGBColor)>,
    /// Panels beside each other.
    pub(super) across: usize,
    pub(super) panels: Vec<Panel>,
}

/// Columns in groups, on one scale from 0 on.
pub(super) struct Panel {
    pub(super) caption: String,
    pub(super) groups: Vec<Group>,
    /// A line across, for what is to be reached.
    pub(super) mark: Option<f64>,
}

/// Columns with one text below them, of one line or more.
pub(super) struct Group {
    pub(super) text: String,
    pub(super) columns: Vec<Column>,
}

/// A number.
pub(super) struct Column {
    pub(super) height: f64,
    pub(super) colour: RGBColor,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Picture {
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| anyhow!("the picture: {error}"))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn Error>> {
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        // Solid: the page behind it may be dark.
        root.fill(&WHITE)?;
        let mut area = root.margin(12, 0, 0, 0).titled(&self.title, (FONT, 27))?;
        if !self.legend.is_empty() {
            let (legend, rest) = area.split_vertically(34);
            self.draw_legend(&legend)?;
            area = rest;
        }
        let down = self.panels.len().div_ceil(self.across);
        let areas = area.split_evenly((down, self.across));
        for (panel, area) in self.panels.iter().zip(&areas) {
            panel.draw(area)?;
        }
        root.present()?;
        Ok(())
    }

    fn draw_legend(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        let style = (FONT, 19).into_font().color(&BLACK);
        let mut x = 60;
        for (text, colour) in &self.legend {
            let square = Rectangle::new([(x, 10), (x + 14, 24)], colour.filled());
            area.draw(&square)?;
            area.draw(&Text::new(text.as_str(), (x + 21, 9), style.clone()))?;
            x += 170;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        let columns = self.groups.iter().flat_map(|group| &group.columns);
        let highest = columns
            .map(|column| column.height)
            .chain(self.mark)
            .fold(f64::MIN_POSITIVE, f64::max);
        let lines = self.groups.iter().map(|group| group.text.lines().count());
        let lines = i32::try_from(lines.max().unwrap_or(1))?;

        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(14 + LINE * lines)
            .y_label_area_size(50)
            .caption(&self.caption, (FONT, 22))
            .build_cartesian_2d(0.0..self.groups.len() as f64, 0.0..highest * 1.12)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|height| axis(*height, highest))
            .label_style((FONT, 17).into_font().color(&BLACK))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .draw()?;

        if let Some(mark) = self.mark {
            let ends = [(0.0, mark), (self.groups.len() as f64, mark)];
            let line = PathElement::new(ends, BLACK.mix(0.5));
            chart.draw_series([line])?;
        }

        let (above, below) = (text_style(16, VPos::Bottom), text_style(18, VPos::Top));
        for (position, group) in self.groups.iter().enumerate() {
            let middle = position as f64 + 0.5;
            for (line, text) in (0..).zip(group.text.lines()) {
                let text = Text::new(text.to_owned(), (0, 8 + LINE * line), below.clone());
                chart.draw_series([EmptyElement::at((middle, 0.0)) + text])?;
            }
            let width = GROUP / group.columns.len().max(1) as f64;
            let left = middle - GROUP / 2.0;
            for (position, column) in group.columns.iter().enumerate() {
                let from = left + width * (position as f64 + 0.05);
                let height = column.height;
                let bar = [(from, 0.0), (from + 0.9 * width, height)];
                chart.draw_series([Rectangle::new(bar, column.colour.filled())])?;
                let top = EmptyElement::at((from + 0.45 * width, height));
                let number = Text::new(number(height), (0, -3), above.clone());
                chart.draw_series([top + number])?;
            }
        }
        Ok(())
    }
}

/// A number of the scale: as many digits as tell its numbers apart.
fn axis(height: f64, highest: f64) -> String {
    let digits = match highest {
        ..1.5 => 2,
        ..6.0 => 1,
        _ => 0,
    };
    format!("{height:.digits$}")
}

fn number(height: f64) -> String {
    match height {
        ..10.0 => format!("{height:.2}"),
        ..1000.0 => format!("{height:.1}"),
        _ => format!("{height:.0}"),
    }
}

fn text_style(size: u32, vertical: VPos) -> TextStyle<'static> {
    let text = (FONT, size).into_font().color(&BLACK);
    text.pos(Pos::new(HPos::Center, vertical))
}
