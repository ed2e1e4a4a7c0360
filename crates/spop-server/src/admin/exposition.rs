//! Prometheus' text format, put together family by family.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use tracing::error;

use super::HistogramCounts;

/// A page of metrics for Prometheus, whose names begin alike. A name that is given again adds
/// samples to those before.
///
/// ```
/// use spop_server::admin::Exposition;
///
/// let mut page = Exposition::new("my_agent");
/// let answers = [([("score", "0")], 7), ([("score", "100")], 2)];
/// page.counter("answers_total", "Answers, by score.", answers);
/// assert!(page.text().contains("\nmy_agent_answers_total{score=\"100\"} 2\n"));
/// ```
#[derive(Debug)]
pub struct Exposition {
    prefix: String,
    families: Vec<MetricFamily>,
}

impl Exposition {
    /// No families yet; their names will begin with `prefix` and `_`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            families: Vec::new(),
        }
    }

    /// Counts that only grow, by their labels. Without any there is no such family.
    pub fn counter<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// Values that come and go, by their labels. Without any there is no such family.
    pub fn gauge<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value as f64);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// When the process began, under the name that every program has for it:
    /// `process_start_time_seconds`, without the prefix.
    pub fn start_time(&mut self, started: SystemTime) {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut gauge = Gauge::default();
        gauge.set_value(since.as_secs_f64());
        let mut metric = labelled([]);
        metric.set_gauge(gauge);
        let mut family = MetricFamily::default();
        family.set_name("process_start_time_seconds".to_owned());
        family.set_help("Start of the process, in seconds since 1970.".to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(vec![metric]);
        self.families.push(family);
    }

    /// Values by size, by their labels, so many of the histograms' units to one that is shown.
    /// Without any there is no such family.
    pub fn histogram<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        units: u32,
        samples: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], HistogramCounts)>,
    ) {
        let shown = |value: u64| value as f64 / f64::from(units);
        let metrics = samples.into_iter().map(|(labels, counts)| {
            let buckets = counts.buckets.into_iter().map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(shown(bound));
                bucket.set_cumulative_count(count);
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(counts.count);
            histogram.set_sample_sum(shown(counts.sum));
            let mut metric = labelled(labels);
            metric.set_histogram(histogram);
            metric
        });
        self.family(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// The text, for [`PROMETHEUS`](super::PROMETHEUS).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Only families without a name or without samples can fail.
        if let Err(error) = TextEncoder::new().encode_utf8(&self.families, &mut text) {
            error!(%error, "metrics are incomplete; this is a defect, please report it");
        }
        text
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let name = format!("{}_{name}", self.prefix);
        let mut known = self.families.iter_mut();
        if let Some(family) = known.find(|family| family.name() == name) {
            return family.mut_metric().extend(metrics);
        }
        let mut family = MetricFamily::default();
        family.set_name(name);
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }
}

fn labelled<const LABELS: usize>(labels: [(&str, &str); LABELS]) -> Metric {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(labels.map(pair).into())
}
