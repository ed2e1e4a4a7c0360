//! C: health checks.

use super::{CLOSED, Fault, NOTHING, each, fault};
use crate::broken::{Fate, changing, hearing_hello, saying};
use crate::wire::{Wire, string, uint32};

pub(crate) fn faults() -> Vec<Fault> {
    let answers_checks = |change: fn(&mut Wire)| {
        changing(101, move |past, hello| {
            if past.check {
                change(hello);
            }
        })
    };
    vec![
        fault(
            "does not answer a check",
            hearing_hello(|past, _| match past.check {
                true => Fate::Ignore,
                false => Fate::Hear,
            }),
            each(["C1", "C2", "C3", "C4", "C6"], NOTHING),
        ),
        fault(
            "says goodbye to a check, with the HELLO",
            saying(|past, frames| {
                let mut bytes: Vec<u8> = frames.iter().flat_map(Wire::bytes).collect();
                if past.check {
                    bytes.extend_from_slice(&goodbye().bytes());
                }
                vec![bytes]
            }),
            [("C2", "38 bytes more with it")],
        ),
        fault(
            "answers a check without capabilities",
            answers_checks(|hello| hello.set("capabilities", None)),
            [("C3", "it refuses with status 7")],
        ),
        fault(
            "answers a check with another flag",
            answers_checks(|hello| hello.flags = 3),
            [("C3", "0x3")],
        ),
        fault(
            "answers a check with tune.bufsize",
            answers_checks(|hello| hello.set("max-frame-size", Some(&uint32(16_384)))),
            [("C4", "16384")],
        ),
        fault(
            "takes healthcheck=false for true",
            hearing_hello(|_, hello| {
                if hello.value("healthcheck").is_some() {
                    hello.set("healthcheck", Some(&[0x11]));
                }
                Fate::Hear
            }),
            [("C7", CLOSED)],
        ),
    ]
}

fn goodbye() -> Wire {
    let mut bye = Wire {
        frame_type: 102,
        ..Wire::ack((0, 0))
    };
    bye.set("status-code", Some(&uint32(0)));
    bye.set("message", Some(&string("bye")));
    bye
}
