//! The engine's counts as Prometheus reads them.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spop_codec::Negotiated;

use crate::failure::Failure;
use crate::observe::{ConnectionEnd, Observer};
use crate::peer::Peer;

/// [`ConnectionEnd::as_str`]'s words; the last stands for any that are added there.
const ENDS: [&str; 14] = [
    "health-check",
    "health-check-refused",
    "haproxy-disconnect",
    "hello-refused",
    "violation",
    "hello-timeout",
    "frame-timeout",
    "idle-timeout",
    "drained",
    "eof",
    "io-error",
    "write-timeout",
    "dropped",
    "other",
];

/// [`Failure::as_str`]'s words, and as above.
const REASONS: [&str; 8] = [
    "deadline",
    "panic",
    "void-actions",
    "ack-too-big",
    "overload",
    "error",
    "rejected",
    "other",
];

/// Counts, since the start, what the engine tells, for
/// [`Config::with_observer`](crate::Config::with_observer).
///
/// | metric, after the prefix | labels | |
/// |---|---|---|
/// | `_spop_connections` | | connections of HAProxy that are open |
/// | `_spop_connections_total` | | connections accepted, health checks included |
/// | `_spop_connections_closed_total` | `end` | how they ended: [`ConnectionEnd::as_str`] |
/// | `_spop_connections_full_total` | | times that the limit of connections was reached |
/// | `_spop_accept_errors_total` | | times that accepting failed |
/// | `_spop_handshakes_total` | | connections that shook hands to ask |
/// | `_spop_notifies_total` | | NOTIFYs taken in |
/// | `_spop_notifies_in_flight` | | those that wait for their answer |
/// | `_spop_notifies_failed_total` | `reason` | those answered by policy: [`Failure::as_str`] |
/// | `_spop_notifies_lost_total` | | those whose connection ended first |
/// | `_spop_reads_paused_total` | | times that a connection was not read, for too much in flight |
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    closed: [AtomicU64; ENDS.len()],
    full: AtomicU64,
    accept_errors: AtomicU64,
    handshakes: AtomicU64,
    notifies: AtomicU64,
    answered: AtomicU64,
    failed: [AtomicU64; REASONS.len()],
    lost: AtomicU64,
    paused: AtomicU64,
}

impl Counters {
    /// All of them, as of now, in the format that [`PROMETHEUS`](super::PROMETHEUS) names.
    /// Each name begins with `prefix`, such as `my_agent`.
    pub fn text(&self, prefix: &str) -> String {
        // What ends before what begins: nothing in between makes a gauge negative.
        let closed = self.closed.each_ref().map(read);
        let done = read(&self.answered) + read(&self.lost);
        let accepted = read(&self.accepted);
        let notifies = read(&self.notifies);

        let mut page = Page::new(prefix);
        page.gauge(
            "connections",
            "Connections of HAProxy that are open.",
            accepted.saturating_sub(closed.iter().sum()),
        );
        page.counter(
            "connections_total",
            "Connections of HAProxy, health checks included, accepted.",
            accepted,
        );
        page.counters(
            "connections_closed_total",
            "Connections that ended, by how.",
            "end",
            ENDS.into_iter().zip(closed),
        );
        page.counter(
            "connections_full_total",
            "Times that the limit of connections was reached.",
            read(&self.full),
        );
        page.counter(
            "accept_errors_total",
            "Times that accepting a connection failed.",
            read(&self.accept_errors),
        );
        page.counter(
            "handshakes_total",
            "Connections that shook hands to ask.",
            read(&self.handshakes),
        );
        page.counter("notifies_total", "NOTIFYs taken in.", notifies);
        page.gauge(
            "notifies_in_flight",
            "NOTIFYs that wait for their answer.",
            notifies.saturating_sub(done),
        );
        page.counters(
            "notifies_failed_total",
            "NOTIFYs that the failure policy answered, by why.",
            "reason",
            REASONS.into_iter().zip(self.failed.each_ref().map(read)),
        );
        page.counter(
            "notifies_lost_total",
            "NOTIFYs whose connection ended before their answer.",
            read(&self.lost),
        );
        page.counter(
            "reads_paused_total",
            "Times that a connection was not read, for too much in flight.",
            read(&self.paused),
        );
        page.text
    }
}

impl Observer for Counters {
    fn accepted(&self, _: &Peer) {
        add(&self.accepted, 1);
    }

    fn accept_failed(&self, _: &io::Error) {
        add(&self.accept_errors, 1);
    }

    fn connections_full(&self) {
        add(&self.full, 1);
    }

    fn handshake(&self, _: &Negotiated) {
        add(&self.handshakes, 1);
    }

    fn closed(&self, end: &ConnectionEnd, in_flight: usize) {
        add(&self.lost, in_flight as u64);
        add_word(&ENDS, &self.closed, end.as_str());
    }

    fn received(&self) {
        add(&self.notifies, 1);
    }

    fn paused(&self) {
        add(&self.paused, 1);
    }

    fn answered(&self, failure: Option<Failure>, _: Duration) {
        if let Some(failure) = failure {
            add_word(&REASONS, &self.failed, failure.as_str());
        }
        add(&self.answered, 1);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Acquire)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Release);
}

/// Counts a word, one that is not in the list as the last.
fn add_word(words: &[&str], counters: &[AtomicU64], word: &str) {
    let known = words
        .iter()
        .zip(counters)
        .find(|(known, _)| **known == word);
    if let Some(counter) = known
        .map(|(_, counter)| counter)
        .or_else(|| counters.last())
    {
        add(counter, 1);
    }
}

/// Family by family. Writing to a String cannot fail.
struct Page<'a> {
    prefix: &'a str,
    text: String,
}

impl<'a> Page<'a> {
    fn new(prefix: &'a str) -> Self {
        Self {
            prefix,
            text: String::new(),
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "gauge");
        let _ = writeln!(self.text, "{}_spop_{name} {value}", self.prefix);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter");
        let _ = writeln!(self.text, "{}_spop_{name} {value}", self.prefix);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) {
        self.family(name, help, "counter");
        for (word, value) in values {
            let prefix = self.prefix;
            let _ = writeln!(
                self.text,
                "{prefix}_spop_{name}{{{label}=\"{word}\"}} {value}"
            );
        }
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let prefix = self.prefix;
        let _ = writeln!(
            self.text,
            "# HELP {prefix}_spop_{name} {help}\n# TYPE {prefix}_spop_{name} {kind}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(counters: &Counters, line: &str) {
        let text = counters.text("agent");
        assert!(text.lines().any(|own| own == line), "no {line} in:\n{text}");
    }

    #[test]
    fn what_was_told_is_shown() {
        let counters = Counters::default();
        let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
        for _ in 0..3 {
            counters.accepted(&peer);
            counters.received();
        }
        counters.answered(None, Duration::ZERO);
        counters.answered(Some(Failure::Deadline), Duration::ZERO);
        has(&counters, "agent_spop_notifies_in_flight 1");
        counters.closed(&ConnectionEnd::WriteTimeout, 1);
        for line in [
            "# TYPE agent_spop_connections gauge",
            "agent_spop_connections 2",
            "agent_spop_connections_total 3",
            "agent_spop_connections_closed_total{end=\"write-timeout\"} 1",
            "agent_spop_connections_closed_total{end=\"eof\"} 0",
            "agent_spop_notifies_total 3",
            "agent_spop_notifies_in_flight 0",
            "agent_spop_notifies_failed_total{reason=\"deadline\"} 1",
            "agent_spop_notifies_failed_total{reason=\"panic\"} 0",
            "agent_spop_notifies_lost_total 1",
        ] {
            has(&counters, line);
        }
    }

    #[test]
    fn every_failure_has_its_word() {
        let failures = [
            Failure::Deadline,
            Failure::Panic,
            Failure::VoidActions,
            Failure::AckTooBig,
            Failure::Overload,
            Failure::Error,
            Failure::Rejected,
        ];
        let counters = Counters::default();
        for failure in failures {
            counters.answered(Some(failure), Duration::ZERO);
            let reason = failure.as_str();
            has(
                &counters,
                &format!("agent_spop_notifies_failed_total{{reason=\"{reason}\"}} 1"),
            );
        }
        has(
            &counters,
            "agent_spop_notifies_failed_total{reason=\"other\"} 0",
        );
    }
}
