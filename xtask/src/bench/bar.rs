//! The figures to reach, and whether they were.

use super::Spread;
use crate::markdown::Table;

/// One figure to reach.
pub(super) struct Bar {
    pub(super) what: String,
    pub(super) limit: String,
    pub(super) measured: String,
    pub(super) met: bool,
}

impl Bar {
    /// Met if the median is at most `limit`, which `shown` shows.
    pub(super) fn at_most(
        what: impl Into<String>,
        limit: f64,
        shown: impl Into<String>,
        measured: Spread,
    ) -> Self {
        Self {
            what: what.into(),
            limit: shown.into(),
            measured: measured.to_string(),
            met: measured.middle <= limit,
        }
    }

    /// Met if the median is at least `limit`, which `shown` shows.
    pub(super) fn at_least(
        what: impl Into<String>,
        limit: f64,
        shown: impl Into<String>,
        measured: Spread,
    ) -> Self {
        Self {
            met: measured.middle >= limit,
            ..Self::at_most(what, limit, shown, measured)
        }
    }

    /// As a section of a page; `heads` are those of the columns for what is measured and for
    /// the limit. Nothing if there are no bars.
    pub(super) fn section(bars: Vec<Self>, heads: [&str; 2]) -> String {
        if bars.is_empty() {
            return String::new();
        }
        let [what, limit] = heads;
        let mut table = Table::new([what, limit, "measured", ""]);
        for bar in bars {
            let verdict = if bar.met { "met" } else { "not met" };
            table.row([bar.what, bar.limit, bar.measured, verdict.to_owned()]);
        }
        format!("### To reach\n\n{}\n", table.markdown())
    }
}
