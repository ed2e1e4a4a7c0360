//! Tables in Markdown that can be read as text, too.

use std::fmt::Write as _;

/// Its columns are as wide as they need to be.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let heads: Vec<String> = heads.into_iter().map(Into::into).collect();
        let rule = heads.iter().map(|_| "---".to_owned()).collect();
        Self(vec![heads, rule])
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    pub(super) fn markdown(&self) -> String {
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
}
