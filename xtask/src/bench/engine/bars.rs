//! The figures that the engine is to reach.

use super::Results;
use super::agent::Kind;
use super::direct::Payload;
use super::proxied::Proxied;
use crate::bench::bar::Bar;
use crate::bench::notifies::Shape;

/// Of the agent `minimal`.
const SUBJECT: Kind = Kind::Minimal;

/// The shapes that HAProxy itself gives its connections, and the most that the agent may cost
/// there as a multiple of the ceiling.
const TO_CEILING: [(Shape, f64); 2] = [(Shape::new(64, 1), 1.15), (Shape::new(8, 16), 2.0)];
/// µs for 2 KiB that nobody reads, beyond what the kernel's copies cost the ceiling.
const UNREAD: f64 = 0.3;
/// Per NOTIFY with 16 in flight.
const INSTRUCTIONS: f64 = 1000.0;

/// Those about what was measured.
pub(super) fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (shape, most) in TO_CEILING {
        let ratio = results.direct.to_ceiling((Payload::Small, shape), SUBJECT);
        bars.extend(ratio.map(|ratio| {
            let what = format!("CPU at {shape}, as a multiple of the ceiling's");
            Bar::at_most(what, most, format!("{most:.2}"), ratio)
        }));
    }
    for (shape, _) in TO_CEILING {
        let more = results.direct.unread(shape, SUBJECT);
        bars.extend(more.map(|more| {
            let what = format!("CPU for 2 KiB unread at {shape}, beyond the ceiling's");
            Bar::at_most(what, UNREAD, format!("{UNREAD:.2} µs"), more)
        }));
    }
    let count = results.instructions.get(SUBJECT, Payload::Small, 16);
    bars.extend(count.map(|count| Bar {
        what: "user instructions per NOTIFY, 16 in flight".to_owned(),
        limit: format!("{INSTRUCTIONS:.0}"),
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
        limit: "0%".to_owned(),
        measured,
        met: worst(subject) == 0.0,
    }
}
