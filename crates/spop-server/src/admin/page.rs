//! Prometheus' text format, family by family.

use std::fmt::Write as _;

use super::histogram::Histogram;

/// Families of names that begin alike. Writing to a String cannot fail.
pub(super) struct Page<'a> {
    prefix: &'a str,
    text: String,
}

impl<'a> Page<'a> {
    /// No families yet.
    pub(super) const fn new(prefix: &'a str) -> Self {
        Self {
            prefix,
            text: String::new(),
        }
    }

    /// A value that comes and goes.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// A count that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter");
        self.sample(name, "", value);
    }

    /// The same by labels, which are given as they are written: `label="value"`.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.family(name, help, "counter");
        for (labels, value) in values {
            self.sample(name, &format!("{{{labels}}}"), value);
        }
    }

    /// Values by size, so many of the histogram's units to one that is shown.
    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, units: u32) {
        self.family(name, help, "histogram");
        let read = histogram.read();
        let shown = |value: u64| value as f64 / f64::from(units);
        let bucket = format!("{name}_bucket");
        for (bound, count) in read.buckets {
            self.sample(&bucket, &format!("{{le=\"{}\"}}", shown(bound)), count);
        }
        self.sample(&bucket, "{le=\"+Inf\"}", read.count);
        self.sample(&format!("{name}_sum"), "", shown(read.sum));
        self.sample(&format!("{name}_count"), "", read.count);
    }

    /// The text.
    pub(super) fn text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let prefix = self.prefix;
        let _ = writeln!(
            self.text,
            "# HELP {prefix}_spop_{name} {help}\n# TYPE {prefix}_spop_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let prefix = self.prefix;
        let _ = writeln!(self.text, "{prefix}_spop_{name}{labels} {value}");
    }
}
