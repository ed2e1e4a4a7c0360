//! The figures to reach, and whether they were.

use super::Results;
use super::agent::Kind;
use super::direct::{Payload, Shape};
use super::proxied::Proxied;
use crate::bench::Spread;

/// Of the agent `minimal`.
const SUBJECT: Kind = Kind::Minimal;

/// The shapes that HAProxy itself gives its connections, and the most that the agent may cost
/// there as a multiple of the ceiling.
const TO_CEILING: [(Shape, f64); 2] = [(Shape::new(64, 1), 1.15), (Shape::new(8, 16), 2.0)];
/// µs for 2 KiB that nobody reads, beyond what the kernel's copies cost the ceiling.
const UNREAD: f64 = 0.3;
/// Per NOTIFY with 16 in flight.
const INSTRUCTIONS: f64 = 1000.0;

/// One figure to reach.
pub(super) struct Bar {
    pub(super) what: String,
    pub(super) most: String,
    pub(super) measured: String,
    pub(super) met: bool,
}

/// Those about what was measured.
pub(super) fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (shape, most) in TO_CEILING {
        let ratio = results.direct.to_ceiling((Payload::Small, shape), SUBJECT);
        bars.extend(ratio.map(|ratio| {
            let what = format!("CPU at {shape}, as a multiple of the ceiling's");
            Bar::spread(what, format!("{most:.2}"), ratio, most)
        }));
    }
    for (shape, _) in TO_CEILING {
        let more = results.direct.unread(shape, SUBJECT);
        bars.extend(more.map(|more| {
            let what = format!("CPU for 2 KiB unread at {shape}, beyond the ceiling's");
            Bar::spread(what, format!("{UNREAD:.2} µs"), more, UNREAD)
        }));
    }
    let count = results.instructions.get(SUBJECT, Payload::Small, 16);
    bars.extend(count.map(|count| Bar {
        what: "user instructions per NOTIFY, 16 in flight".to_owned(),
        most: format!("{INSTRUCTIONS:.0}"),
        measured: format!("{count:.0}"),
        met: count <= INSTRUCTIONS,
    }));
    for proxied in &results.proxied {
        if proxied.agent == Some(SUBJECT) {
            bars.push(in_time(results, proxied));
        }
    }
    bars
}

/// That HAProxy's patience never ends. On a machine that does other things at the same time
/// the ceiling does not reach it either, so that is told, too.
fn in_time(results: &Results, subject: &Proxied) -> Bar {
    let worst = |proxied: &Proxied| {
        let undecided = proxied.turns.iter().map(|turn| turn.undecided);
        undecided.fold(0.0, f64::max)
    };
    let mut measured = format!("{:.3}%", worst(subject));
    let ceiling = results
        .proxied
        .iter()
        .find(|other| other.agent == Some(Kind::Ceiling) && other.haproxy == subject.haproxy);
    if let Some(ceiling) = ceiling {
        measured += &format!(" (ceiling {:.3}%)", worst(ceiling));
    }
    Bar {
        what: format!(
            "requests not answered in 15 ms, HAProxy {}, worst round",
            subject.haproxy
        ),
        most: "0%".to_owned(),
        measured,
        met: worst(subject) == 0.0,
    }
}

impl Bar {
    fn spread(what: String, most: String, measured: Spread, limit: f64) -> Self {
        Self {
            what,
            most,
            measured: measured.to_string(),
            met: measured.middle <= limit,
        }
    }

    pub(super) const fn verdict(&self) -> &'static str {
        if self.met { "met" } else { "not met" }
    }
}
