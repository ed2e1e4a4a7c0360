//! Prometheus' text format 0.0.4, read as strictly as it is described.

use std::collections::{BTreeMap, BTreeSet};

/// What every program calls it.
pub(crate) const PROCESS_START: &str = "process_start_time_seconds";

/// What a page says, all of it checked.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// By name and labels, as written: `name{label="value"}`.
    samples: BTreeMap<String, f64>,
    /// Names of families, and their kinds.
    families: BTreeMap<String, String>,
}

impl Exposition {
    /// Panics if the text is not as it should be.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut samples = BTreeMap::new();
        let mut families = BTreeMap::new();
        let mut family = (String::new(), String::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{line}");
                let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
                let (same, kind) = kind.split_once(' ').unwrap();
                assert_eq!(same, name);
                let ours = name.starts_with("spoa_gcra_") || name == PROCESS_START;
                assert!(ours, "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let before = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "twice: {line}");
                family = (name.to_owned(), kind.to_owned());
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            if family.1 == "histogram" {
                let part = name.strip_prefix(&*family.0).unwrap();
                assert!(["_bucket", "_sum", "_count"].contains(&part), "{line}");
            } else {
                assert_eq!(name, family.0, "{line}");
            }
            for label in labels.strip_suffix('}').unwrap().split(',') {
                let (label, value) = label.split_once('=').unwrap_or(("x", "\"\""));
                let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                assert!(label.bytes().all(word), "{line}");
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                assert!(!value.unwrap().contains(['"', '\\']), "{line}");
            }
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            let before = samples.insert(sample.to_owned(), value);
            assert_eq!(before, None, "twice: {line}");
        }
        assert!(!samples.is_empty());
        Self { samples, families }
    }

    /// The names of all families.
    pub(crate) fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// The names of all samples, by which queries ask: a histogram has three.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let samples = self.samples.keys();
        let name = |sample: &'_ str| sample.split('{').next().unwrap_or_default().len();
        samples.map(|sample| &sample[..name(sample)]).collect()
    }

    /// The value of a sample, given without the prefix of all names. Panics if it is not there.
    #[track_caller]
    pub(crate) fn get(&self, sample: &str) -> f64 {
        let value = self.find(sample);
        value.unwrap_or_else(|| panic!("no {sample} in {self:#?}"))
    }

    /// The same; `None`: it is not there.
    pub(crate) fn find(&self, sample: &str) -> Option<f64> {
        self.samples.get(&format!("spoa_gcra_{sample}")).copied()
    }

    /// What one policy decided so far.
    #[track_caller]
    pub(crate) fn decisions(&self, policy: &str, outcome: &str, source: &str) -> f64 {
        self.get(&format!(
            "decisions_total{{policy=\"{policy}\",outcome=\"{outcome}\",source=\"{source}\"}}"
        ))
    }
}
