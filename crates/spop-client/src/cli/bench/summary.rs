//! What a run comes to: figures, for people and for programs, and the verdict.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::milliseconds;
use super::run::{Outcome, Snapshot};
use super::tally::Tally;

/// What was asked for, as far as the summary repeats it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) address: String,
    pub(super) message: String,
    pub(super) connections: u32,
    pub(super) window: usize,
    pub(super) threads: usize,
    /// NOTIFYs a second; `None` is a closed loop.
    pub(super) rate: Option<u32>,
}

/// The summary of a run.
#[derive(Debug)]
pub(super) struct Summary {
    asked: Asked,
    tally: Tally,
    measured: Option<Measured>,
    interrupted: bool,
}

/// Figures of the time after the warm-up.
#[derive(Debug)]
struct Measured {
    seconds: f64,
    /// ACKs.
    answers: u64,
    bytes_out: u64,
    bytes_in: u64,
    agent_cpu: Option<Duration>,
    own_cpu: Option<Duration>,
}

/// What the agent did wrong. Its text is one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Faults {
    late: u64,
    missing: u64,
    unexpected: u64,
    failed: u64,
}

impl Summary {
    pub(super) fn new(asked: Asked, outcome: Outcome) -> Self {
        let measured = outcome.measured.as_ref();
        Self {
            asked,
            measured: measured.map(|(from, to)| Measured::between(from, to)),
            tally: outcome.tally,
            interrupted: outcome.interrupted,
        }
    }

    /// What the agent did wrong, if anything.
    pub(super) fn verdict(&self) -> Result<(), Faults> {
        if self.tally.faults() == 0 {
            return Ok(());
        }
        Err(Faults {
            late: self.tally.late,
            missing: self.tally.missing,
            unexpected: self.tally.unexpected,
            failed: self.tally.failed_connections(),
        })
    }

    /// The figures, one line each, then what is to be known about them.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (asked, tally) = (&self.asked, &self.tally);
        let how = match asked.rate {
            None => "in flight each, closed loop".to_owned(),
            Some(rate) => format!("in flight each at most, {rate} NOTIFY/s due"),
        };
        writeln!(
            out,
            "{}: {} connections, {} {how}",
            asked.address, asked.connections, asked.window
        )?;
        if let Some(measured) = &self.measured {
            measured.print(&tally.latency, out)?;
        }
        writeln!(
            out,
            "  in all      {} sent: {} answered, {} late, {} missing; {} unexpected",
            tally.sent, tally.answered, tally.late, tally.missing, tally.unexpected
        )?;
        for note in self.notes() {
            writeln!(out, "  note        {note}")?;
        }
        for (why, connections) in &tally.failures {
            writeln!(out, "  failed      {connections} connections: {why}")?;
        }
        Ok(())
    }

    /// The same as one JSON object.
    pub(super) fn json(&self) -> Value {
        let (asked, tally) = (&self.asked, &self.tally);
        let failures = tally.failures.iter();
        let failures = failures.map(|(why, count)| json!({"connections": count, "error": why}));
        json!({
            "address": asked.address,
            "message": asked.message,
            "connections": asked.connections,
            "window": asked.window,
            "threads": asked.threads,
            "rate": asked.rate,
            "interrupted": self.interrupted,
            "measured": self.measured.as_ref().map(|measured| measured.json(&tally.latency)),
            "sent": tally.sent,
            "answered": tally.answered,
            "late": tally.late,
            "missing": tally.missing,
            "unexpected": tally.unexpected,
            "without_actions": tally.empty,
            "held_back": tally.held_back,
            "unsent": tally.unsent,
            "failures": failures.collect::<Vec<_>>(),
        })
    }

    fn notes(&self) -> Vec<String> {
        let tally = &self.tally;
        let mut notes = Vec::new();
        if self.interrupted {
            notes.push("ended early by Ctrl-C".to_owned());
        }
        if self.measured.is_none() {
            notes.push("it ended in the warm-up, so nothing was measured".to_owned());
        }
        if tally.unsent > 0 {
            notes.push(format!(
                "the agent fell behind: at the end {} NOTIFYs were due that found no room in the \
                 window; the latency would have grown on, so lower --rate",
                tally.unsent
            ));
        } else if tally.held_back > 0 {
            notes.push(format!(
                "{} NOTIFYs were sent later than due because the window was full; that wait is \
                 in the latency",
                tally.held_back
            ));
        }
        if tally.empty > 0 {
            notes.push(format!(
                "{} answers had no action; does the agent know the message `{}`?",
                tally.empty, self.asked.message
            ));
        }
        let busy = self.measured.as_ref().and_then(Measured::own_cores);
        let threads = self.asked.threads as f64;
        if busy.is_some_and(|cores| cores > 0.9 * threads) {
            notes.push("spop itself was busy all the time; more --threads may go further".into());
        }
        notes
    }
}

impl Measured {
    fn between(from: &Snapshot, to: &Snapshot) -> Self {
        let agent_cpu = from.agent_cpu.as_ref().zip(to.agent_cpu.as_ref());
        let own_cpu = from.own_cpu.zip(to.own_cpu);
        Self {
            seconds: to.at.duration_since(from.at).as_secs_f64(),
            answers: to.answers - from.answers,
            bytes_out: to.bytes_out - from.bytes_out,
            bytes_in: to.bytes_in - from.bytes_in,
            agent_cpu: agent_cpu.map(|(from, to)| to.since(from)),
            own_cpu: own_cpu.map(|(from, to)| to.saturating_sub(from)),
        }
    }

    fn print(&self, latency: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "  throughput  {:.0} NOTIFY/s over {:.3} s; {:.3} MB/s out, {:.3} MB/s in",
            self.per_second(self.answers),
            self.seconds,
            self.per_second(self.bytes_out) / 1e6,
            self.per_second(self.bytes_in) / 1e6,
        )?;
        if latency.is_empty() {
            writeln!(
                out,
                "  latency     of no NOTIFY: none due after the warm-up was answered"
            )?;
        } else {
            write!(out, "  latency     ")?;
            for (name, _, quantile) in QUANTILES {
                let time = Duration::from_nanos(latency.value_at_quantile(quantile));
                write!(out, "{name} {}, ", milliseconds(time))?;
            }
            let max = Duration::from_nanos(latency.max());
            writeln!(out, "max {}", milliseconds(max))?;
        }
        let cpu = [("agent", self.agent_cpu), ("spop", self.own_cpu)];
        let cpu = cpu.into_iter().filter_map(|(name, cpu)| {
            let (each, cores) = (self.micros_each(cpu?)?, self.cores(cpu?));
            Some(format!("{name} {each:.3} µs a NOTIFY ({cores:.2} cores)"))
        });
        let cpu: Vec<String> = cpu.collect();
        if !cpu.is_empty() {
            writeln!(out, "  CPU         {}", cpu.join(", "))?;
        }
        Ok(())
    }

    fn json(&self, latency: &Histogram<u64>) -> Value {
        let micros = |nanos| nanos as f64 / 1e3;
        let mut percentiles = serde_json::Map::new();
        for (_, key, quantile) in QUANTILES {
            let micros = micros(latency.value_at_quantile(quantile));
            percentiles.insert(key.to_owned(), micros.into());
        }
        percentiles.insert("max".to_owned(), micros(latency.max()).into());
        let cpu = |time: Option<Duration>| {
            json!({
                "us_per_notify": time.and_then(|time| self.micros_each(time)),
                "cores": time.map(|time| self.cores(time)),
            })
        };
        json!({
            "seconds": self.seconds,
            "answers": self.answers,
            "notify_per_second": self.per_second(self.answers),
            "bytes_per_second": {
                "out": self.per_second(self.bytes_out),
                "in": self.per_second(self.bytes_in),
            },
            "latency_us": (!latency.is_empty()).then_some(percentiles),
            "latencies": latency.len(),
            "cpu": { "agent": cpu(self.agent_cpu), "spop": cpu(self.own_cpu) },
        })
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds.max(1e-9)
    }

    fn micros_each(&self, cpu: Duration) -> Option<f64> {
        (self.answers > 0).then(|| cpu.as_secs_f64() * 1e6 / self.answers as f64)
    }

    fn cores(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / self.seconds.max(1e-9)
    }

    fn own_cores(&self) -> Option<f64> {
        self.own_cpu.map(|cpu| self.cores(cpu))
    }
}

/// For people, for programs, and the share of the NOTIFYs that took no longer.
const QUANTILES: [(&str, &str, f64); 4] = [
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p99.9", "p999", 0.999),
];

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.late, "late ACKs"),
            (self.missing, "missing ACKs"),
            (self.unexpected, "unexpected ACKs"),
            (self.failed, "failed connections"),
        ];
        let mut separator = "";
        for (count, what) in counts {
            if count > 0 {
                write!(f, "{separator}{count} {what}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}
