//! H1 to H9 and H11: the HELLO.

use super::{CLOSED, Fault, HELLO, each, fault};
use crate::broken::{Fate, changing, hearing_hello};
use crate::wire::{Wire, string, uint32};

pub(crate) fn faults() -> Vec<Fault> {
    let says = |key: &'static str, value: Option<Vec<u8>>| {
        changing(101, move |_, hello| hello.set(key, value.as_deref()))
    };
    let wants = |right: fn(&Wire) -> bool| {
        hearing_hello(move |_, hello| match right(hello) {
            true => Fate::Hear,
            false => Fate::HangUp,
        })
    };
    let reads = |change: fn(&mut Wire)| {
        hearing_hello(move |_, hello| {
            change(hello);
            Fate::Hear
        })
    };
    vec![
        fault(
            "speaks version 1.0",
            says("version", Some(string("1.0"))),
            each(["H1.1", "H1.2", "C3"], "it refuses with status 8"),
        ),
        fault(
            "wants pipelining and nothing else",
            wants(|hello| hello.text("capabilities") == Some(b"pipelining")),
            each(["H1.2", "H5.1", "H5.2", "H6.1", "C1"], CLOSED),
        ),
        fault(
            "compares the list of versions as a whole",
            wants(|hello| hello.text("supported-versions") == Some(b"2.0")),
            each(["H2.1", "H2.2"], CLOSED),
        ),
        fault(
            "looks at no version",
            reads(|hello| hello.set("supported-versions", Some(&string("2.0")))),
            each(["H2.3", "H2.4", "H2.5"], HELLO),
        ),
        fault(
            "looks at no size",
            reads(|hello| hello.set("max-frame-size", Some(&uint32(16_380)))),
            each(["H3.2", "H3.3", "H4.2"], HELLO),
        ),
        fault(
            "says its own size, whatever HAProxy's is",
            says("max-frame-size", Some(uint32(16_380))),
            each(["H3.1", "F14"], "it refuses with status 9"),
        ),
        fault(
            "says two gigabytes to whoever says one",
            changing(101, |past, hello| {
                if past.shared.lock().unwrap().contains(&b"one"[..]) {
                    hello.set("max-frame-size", Some(&uint32(1 << 31)));
                }
            })
            .also_hearing(|past, wire| {
                if wire.value("max-frame-size") == Some(&uint32(1 << 30)) {
                    past.shared.lock().unwrap().insert(b"one".to_vec());
                }
                Fate::Hear
            }),
            [("H3.4", "it refuses with status 9")],
        ),
        fault(
            "reads a size of one type alone",
            wants(|hello| {
                hello
                    .value("max-frame-size")
                    .is_none_or(|value| value[0] == 3)
            }),
            each(["H4.1", "H4.2"], CLOSED),
        ),
        fault(
            "finds pipelining in every word that holds it",
            reads(|hello| {
                let list = hello.text("capabilities").unwrap_or_default();
                let found = list.windows(10).any(|word| word == b"pipelining");
                let list = string(if found { "pipelining" } else { "" });
                hello.set("capabilities", Some(&list));
            }),
            [("H6.2", "pipelining")],
        ),
        fault(
            "announces async",
            says("capabilities", Some(string("pipelining,async"))),
            [("H7", "async")],
        ),
        fault(
            "insists on the keys it knows",
            wants(|hello| {
                let unknown = |key: &[u8]| key.starts_with(b"x-");
                !hello.pairs().iter().any(|(key, _)| unknown(key))
            }),
            each(["H8.1", "H8.2"], CLOSED),
        ),
        fault(
            "takes types that are not assigned for a byte",
            reads(|hello| hello.set("x-reserved", None)),
            [("H8.2", HELLO)],
        ),
        fault(
            "takes the first or the last of two keys",
            hearing_hello(|past, hello| {
                let mut pairs = hello.pairs();
                let mut seen = past.shared.lock().unwrap();
                let first = !seen.remove(&b"first"[..]) && seen.insert(b"first".to_vec());
                let sizes = pairs
                    .iter()
                    .filter(|(key, _)| key == b"max-frame-size")
                    .count();
                if sizes == 2 && first {
                    pairs.pop();
                }
                hello.set_pairs(pairs);
                Fate::Hear
            }),
            [("H9.1", "Ok(300), Ok(16380)")],
        ),
        fault(
            "minds no empty key",
            reads(|hello| hello.set("", None)),
            [("H9.2", HELLO)],
        ),
        fault(
            "minds neither flags nor ids of a HELLO",
            reads(|hello| (hello.flags, hello.ids) = (1, (0, 0))),
            each(["H11.1", "H11.2"], HELLO),
        ),
    ]
}
