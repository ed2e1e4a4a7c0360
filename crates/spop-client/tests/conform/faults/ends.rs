//! D and X: goodbyes, with reason or without, and floods.

use super::{CLOSED, Fault, NOTHING, REFUSALS, each, fault};
use crate::broken::{Fate, changing, hearing, minding, sound};
use crate::wire::{string, uint32};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        fault(
            "says nothing about what is wrong, and keeps the connection",
            sound().mute(),
            each(REFUSALS, NOTHING).chain([("X7.2", "it stays open")]),
        ),
        fault(
            "says status 99 whatever is wrong",
            changing(102, |_, bye| bye.set("status-code", Some(&uint32(99)))),
            each(REFUSALS, "status 99")
                .filter(|(id, _)| *id != "X6")
                .chain([("G7", "status 99")]),
        ),
        fault(
            "says status 0 whatever is wrong",
            changing(102, |_, bye| bye.set("status-code", Some(&uint32(0)))),
            each(["X4", "X6"], "0 (normal)"),
        ),
        fault(
            "says a status that HAProxy has no room for",
            changing(102, |_, bye| bye.set("status-code", Some(&uint32(100)))),
            each(["H14", "D1.1", "D1.2", "D2"], "100"),
        ),
        fault(
            "says goodbye in 300 letters",
            changing(102, |_, bye| {
                bye.set("message", Some(&string(&"x".repeat(300))))
            }),
            each(["H14", "D1.1", "D1.2", "D2"], "300"),
        ),
        fault(
            "does not close its half",
            sound().half_open(),
            each(["D3.1", "D3.2", "X7.1"], "it stays open").chain(each(
                ["H14", "D1.1", "D1.2", "D2"],
                "the connection stays open",
            )),
        ),
        fault(
            "knows all statuses there will ever be",
            hearing(|_, wire| {
                let unknown = |value: &[u8]| value == uint32(4711);
                match wire.value("status-code") {
                    Some(value) if wire.frame_type == 2 && unknown(value) => Fate::HangUp,
                    _ => Fate::Hear,
                }
            }),
            [("D2", CLOSED)],
        ),
        fault(
            "drowns in unknown frames",
            hearing(|past, wire| match (past.frames, wire.frame_type) {
                (1000.., _) | (_, 50) => Fate::Ignore,
                _ => Fate::Hear,
            }),
            [("X4", NOTHING)],
        ),
        fault(
            "drowns in messages",
            minding(
                |_, notify| notify.messages().count() > 1000,
                || Fate::Ignore,
            ),
            [("X5", NOTHING)],
        ),
    ]
}
