//! The text that Prometheus reads, put together family by family.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use spop_server::admin::HistogramCounts;
use tracing::error;

/// Begins each name.
pub(super) const PREFIX: &str = "spoa_gcra";

/// Families so far. Each name is given once.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    /// Counts that only grow, by their labels. Without any there is no such family.
    pub(super) fn counter<'a, const LABELS: usize>(
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
    pub(super) fn gauge<'a, const LABELS: usize>(
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

    /// When the process began, under the name that every program has for it.
    pub(super) fn start_time(&mut self, started: SystemTime) {
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
    pub(super) fn histogram<'a, const LABELS: usize>(
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

    /// The text.
    pub(super) fn text(&self) -> String {
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
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}_{name}"));
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
