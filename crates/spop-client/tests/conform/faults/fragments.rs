//! G: questions in pieces.

use spop_codec::AgentConfig;

use super::{Fault, NOTHING, each, fault};
use crate::broken::{Fate, changing, hearing};
use crate::wire::{Wire, string};

pub(crate) fn faults() -> Vec<Fault> {
    let unset = |flags: u32, fate: fn(&mut Wire) -> Fate| {
        hearing(move |_, wire| match wire.frame_type {
            0 if wire.flags == flags => fate(wire),
            _ => Fate::Hear,
        })
    };
    vec![
        fault(
            "announces what it cannot do",
            changing(101, |_, hello| {
                hello.set("capabilities", Some(&string("pipelining,fragmentation")));
            })
            .with_config(AgentConfig::new()),
            each(["G1", "G2", "G3", "G4", "G7"], "status 10"),
        ),
        fault(
            "answers what HAProxy gave up",
            unset(3, |wire| {
                wire.flags = 1;
                Fate::Hear
            }),
            [("G3", "for stream-id 1")],
        ),
        fault(
            "drops fragments that it does not expect",
            unset(1, |_| Fate::Ignore),
            [("G4", NOTHING)],
        ),
        fault(
            "waits for the end of whatever begins",
            unset(0, |_| Fate::Ignore),
            [("G5", "nothing after")],
        ),
        fault(
            "takes fragments that it did not ask for",
            changing(101, |_, hello| {
                hello.set("capabilities", Some(&string("pipelining")));
            }),
            [("G6", NOTHING)],
        ),
    ]
}
