//! The engine's counts as Prometheus reads them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spop_codec::{Closed, Negotiated, Status};

use super::Exposition;
use super::histogram::Histogram;
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

/// What came of handshakes.
const HANDSHAKES: [&str; 5] = [
    "agreed",
    "health-check",
    "health-check-refused",
    "refused",
    "timeout",
];

/// The codes of DISCONNECT; the last stands for any that nobody has assigned.
const CODES: [&str; 15] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "99",
];

/// Bounds for the time of an answer, in ns: up to HAProxy's usual patience, and beyond it.
const ANSWER_NANOS: [u64; 13] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    15_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds for the ACKs that leave together.
const WRITE_ACKS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Bounds for the bytes of a write, of which the engine makes 8 KiB at most.
const WRITE_BYTES: [u64; 7] = [128, 256, 512, 1024, 2048, 4096, 8192];

/// Counts, since the start, what the engine tells, for
/// [`Config::with_observer`](crate::Config::with_observer). A NOTIFY adds to three of them,
/// a read to one and a write to four, all without a lock.
///
/// | metric, after the prefix | labels | |
/// |---|---|---|
/// | `_spop_connections` | | connections of HAProxy that are open |
/// | `_spop_connections_total` | | connections accepted, health checks included |
/// | `_spop_connections_closed_total` | `end` | how they ended: [`ConnectionEnd::as_str`] |
/// | `_spop_connections_full_total` | | times that the limit of connections was reached |
/// | `_spop_accept_errors_total` | | times that accepting failed |
/// | `_spop_handshakes_total` | `result` | handshakes: `agreed`, `health-check`, `health-check-refused` (before the end), `refused` (nothing to agree on), `timeout` |
/// | `_spop_disconnects_total` | `side`, `code` | DISCONNECTs by their code, and by whose idea they were: `haproxy` or `agent` |
/// | `_spop_read_bytes_total` | | bytes read |
/// | `_spop_write_bytes` | | histogram: bytes of a write |
/// | `_spop_write_acks` | | histogram: ACKs that were ready together, and leave together |
/// | `_spop_notifies_total` | | NOTIFYs taken in |
/// | `_spop_notifies_in_flight` | | those that wait for their answer |
/// | `_spop_notifies_failed_total` | `reason` | those answered by policy: [`Failure::as_str`] |
/// | `_spop_notifies_lost_total` | | those whose connection ended first |
/// | `_spop_notifies_too_big_total` | | NOTIFYs in fragments that exceeded their limit |
/// | `_spop_answer_seconds` | | histogram: from reading a NOTIFY to its answer |
/// | `_spop_reads_paused_total` | | times that a connection was not read, for too much in flight |
#[derive(Debug)]
pub struct Counters {
    accepted: AtomicU64,
    closed: [AtomicU64; ENDS.len()],
    full: AtomicU64,
    accept_errors: AtomicU64,
    handshakes: [AtomicU64; HANDSHAKES.len()],
    disconnects_received: [AtomicU64; CODES.len()],
    disconnects_sent: [AtomicU64; CODES.len()],
    read_bytes: AtomicU64,
    write_bytes: Histogram,
    write_acks: Histogram,
    notifies: AtomicU64,
    failed: [AtomicU64; REASONS.len()],
    lost: AtomicU64,
    too_big: AtomicU64,
    answer_nanos: Histogram,
    paused: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::default(),
            closed: Default::default(),
            full: AtomicU64::default(),
            accept_errors: AtomicU64::default(),
            handshakes: Default::default(),
            disconnects_received: Default::default(),
            disconnects_sent: Default::default(),
            read_bytes: AtomicU64::default(),
            write_bytes: Histogram::new(&WRITE_BYTES),
            write_acks: Histogram::new(&WRITE_ACKS),
            notifies: AtomicU64::default(),
            failed: Default::default(),
            lost: AtomicU64::default(),
            too_big: AtomicU64::default(),
            answer_nanos: Histogram::new(&ANSWER_NANOS),
            paused: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// All of them, as of now, in the format that [`PROMETHEUS`](super::PROMETHEUS) names.
    /// Each name begins with `prefix`, such as `my_agent`.
    pub fn text(&self, prefix: &str) -> String {
        let mut page = Exposition::new(format!("{prefix}_spop"));
        self.connections(&mut page);
        self.bytes(&mut page);
        self.notifies(&mut page);
        page.text()
    }

    fn connections(&self, page: &mut Exposition) {
        // What ends before what begins: nothing in between makes the gauge negative.
        let closed = self.closed.each_ref().map(read);
        let accepted = read(&self.accepted);
        page.gauge(
            "connections",
            "Connections of HAProxy that are open.",
            only(accepted.saturating_sub(closed.iter().sum())),
        );
        page.counter(
            "connections_total",
            "Connections of HAProxy, health checks included, accepted.",
            only(accepted),
        );
        page.counter(
            "connections_closed_total",
            "Connections that ended, by how.",
            by("end", &ENDS, &self.closed),
        );
        page.counter(
            "connections_full_total",
            "Times that the limit of connections was reached.",
            only(read(&self.full)),
        );
        page.counter(
            "accept_errors_total",
            "Times that accepting a connection failed.",
            only(read(&self.accept_errors)),
        );
        page.counter(
            "handshakes_total",
            "Handshakes, by what came of them.",
            by("result", &HANDSHAKES, &self.handshakes),
        );
        let disconnects = [
            ("haproxy", &self.disconnects_received),
            ("agent", &self.disconnects_sent),
        ];
        let disconnects = disconnects.into_iter().flat_map(|(side, counts)| {
            CODES
                .iter()
                .zip(counts)
                .map(move |(code, count)| ([("side", side), ("code", *code)], read(count)))
        });
        page.counter(
            "disconnects_total",
            "DISCONNECTs by code, and by whose idea they were.",
            disconnects,
        );
    }

    fn bytes(&self, page: &mut Exposition) {
        page.counter(
            "read_bytes_total",
            "Bytes read.",
            only(read(&self.read_bytes)),
        );
        page.histogram(
            "write_bytes",
            "Bytes of a write.",
            1,
            [([], self.write_bytes.read())],
        );
        page.histogram(
            "write_acks",
            "ACKs that were ready together, and leave together.",
            1,
            [([], self.write_acks.read())],
        );
    }

    fn notifies(&self, page: &mut Exposition) {
        // As above: those answered before those taken in.
        let done = self.answer_nanos.read().count + read(&self.lost);
        let notifies = read(&self.notifies);
        page.counter("notifies_total", "NOTIFYs taken in.", only(notifies));
        page.gauge(
            "notifies_in_flight",
            "NOTIFYs that wait for their answer.",
            only(notifies.saturating_sub(done)),
        );
        page.counter(
            "notifies_failed_total",
            "NOTIFYs that the failure policy answered, by why.",
            by("reason", &REASONS, &self.failed),
        );
        page.counter(
            "notifies_lost_total",
            "NOTIFYs whose connection ended before their answer.",
            only(read(&self.lost)),
        );
        page.counter(
            "notifies_too_big_total",
            "NOTIFYs in fragments that exceeded their limit.",
            only(read(&self.too_big)),
        );
        page.histogram(
            "answer_seconds",
            "Time from reading a NOTIFY to its answer.",
            1_000_000_000,
            [([], self.answer_nanos.read())],
        );
        page.counter(
            "reads_paused_total",
            "Times that a connection was not read, for too much in flight.",
            only(read(&self.paused)),
        );
    }

    fn handshake_ended(&self, result: &str) {
        add_word(&HANDSHAKES, &self.handshakes, result);
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
        self.handshake_ended("agreed");
    }

    fn closed(&self, end: &ConnectionEnd, in_flight: usize) {
        add(&self.lost, in_flight as u64);
        if let ConnectionEnd::Protocol(closed) = end {
            match closed {
                Closed::HealthCheck => self.handshake_ended("health-check"),
                Closed::HealthCheckRefused => self.handshake_ended("health-check-refused"),
                Closed::Refused(_) => self.handshake_ended("refused"),
                Closed::HelloTimeout => self.handshake_ended("timeout"),
                _ => {}
            }
            if let Closed::ByPeer(bye) = closed {
                add_code(&self.disconnects_received, bye.status);
            }
            if let Some(status) = sent(closed) {
                add_code(&self.disconnects_sent, status);
            }
        }
        // Last: whoever sees that the connection is closed sees the rest of it, too.
        add_word(&ENDS, &self.closed, end.as_str());
    }

    fn read(&self, bytes: usize) {
        add(&self.read_bytes, bytes as u64);
    }

    fn received(&self) {
        add(&self.notifies, 1);
    }

    fn paused(&self) {
        add(&self.paused, 1);
    }

    fn notify_too_big(&self) {
        add(&self.too_big, 1);
    }

    fn answered(&self, failure: Option<Failure>, elapsed: Duration) {
        if let Some(failure) = failure {
            add_word(&REASONS, &self.failed, failure.as_str());
        }
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.answer_nanos.record(nanos);
    }

    fn acks_ready(&self, acks: usize) {
        self.write_acks.record(acks as u64);
    }

    fn written(&self, bytes: usize) {
        self.write_bytes.record(bytes as u64);
    }
}

/// What the agent said by itself at the end of a connection.
fn sent(closed: &Closed) -> Option<Status> {
    match closed {
        Closed::HealthCheckRefused => Some(Status::RESOURCE),
        Closed::Refused(status) => Some(*status),
        Closed::Violation(error) => Some(error.status()),
        Closed::FrameTimeout | Closed::IdleTimeout => Some(Status::TIMEOUT),
        Closed::Drained => Some(Status::NORMAL),
        _ => None,
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
    let known = words.iter().position(|known| *known == word);
    add_at(counters, known);
}

/// Counts a code, one that is not in the list as the last.
fn add_code(counters: &[AtomicU64], status: Status) {
    add_word(&CODES, counters, &status.0.to_string());
}

fn add_at(counters: &[AtomicU64], index: Option<usize>) {
    let known = index.and_then(|index| counters.get(index));
    if let Some(counter) = known.or_else(|| counters.last()) {
        add(counter, 1);
    }
}

/// The counts of words, which are the values of one label.
fn by<'a>(
    label: &'a str,
    words: &'a [&'a str],
    counters: &[AtomicU64],
) -> Vec<([(&'a str, &'a str); 1], u64)> {
    let counted = words.iter().zip(counters);
    counted
        .map(|(word, counter)| ([(label, *word)], read(counter)))
        .collect()
}

/// A count without labels.
fn only(count: u64) -> [([(&'static str, &'static str); 0], u64); 1] {
    [([], count)]
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
            "agent_spop_answer_seconds_count 2",
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

    #[test]
    fn sizes_are_in_the_units_of_their_names() {
        let counters = Counters::default();
        counters.received();
        counters.answered(None, Duration::from_micros(1500));
        counters.acks_ready(3);
        counters.written(200);
        counters.read(70);
        for line in [
            "# TYPE agent_spop_answer_seconds histogram",
            "agent_spop_answer_seconds_bucket{le=\"0.001\"} 0",
            "agent_spop_answer_seconds_bucket{le=\"0.0025\"} 1",
            "agent_spop_answer_seconds_bucket{le=\"+Inf\"} 1",
            "agent_spop_answer_seconds_sum 0.0015",
            "agent_spop_write_acks_bucket{le=\"2\"} 0",
            "agent_spop_write_acks_sum 3",
            "agent_spop_write_bytes_bucket{le=\"256\"} 1",
            "agent_spop_read_bytes_total 70",
        ] {
            has(&counters, line);
        }
    }

    #[test]
    fn who_ended_a_connection_and_why() {
        let counters = Counters::default();
        for closed in [
            Closed::HealthCheck,
            Closed::HelloTimeout,
            Closed::Refused(Status::UNSUPPORTED_VERSION),
            Closed::IdleTimeout,
            Closed::FrameTimeout,
            Closed::Drained,
            Closed::Violation(spop_codec::DecodeError::Interlaced),
        ] {
            counters.closed(&ConnectionEnd::Protocol(closed), 0);
        }
        for line in [
            "agent_spop_handshakes_total{result=\"health-check\"} 1",
            "agent_spop_handshakes_total{result=\"timeout\"} 1",
            "agent_spop_handshakes_total{result=\"refused\"} 1",
            "agent_spop_handshakes_total{result=\"agreed\"} 0",
            "agent_spop_disconnects_total{side=\"agent\",code=\"0\"} 1",
            "agent_spop_disconnects_total{side=\"agent\",code=\"2\"} 2",
            "agent_spop_disconnects_total{side=\"agent\",code=\"8\"} 1",
            "agent_spop_disconnects_total{side=\"agent\",code=\"11\"} 1",
            "agent_spop_disconnects_total{side=\"haproxy\",code=\"0\"} 0",
        ] {
            has(&counters, line);
        }
    }
}
