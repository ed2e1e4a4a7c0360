//! N12 to N17: what is answered.

use super::{Fault, fault};
use crate::broken::{answering, changing, saying};
use crate::wire::Wire;

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        fault(
            "writes -5 in 32 bits",
            answering(b"\x01\x03\x02\x01v\x02\xfb\xf0\xfe\xfe\x7e"),
            [("N12", "Int32(-5) in v")],
        ),
        fault(
            "writes 2^64-1, which HAProxy reads as -1",
            answering(b"\x01\x03\x02\x01v\x05\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"),
            [("N12", "Uint64(18446744073709551615) in v")],
        ),
        fault(
            "writes a text with flags, which HAProxy takes for bytes",
            answering(b"\x02\x02\x01\x01u\x01\x03\x02\x01v\x18\x02ok"),
            [("N13", "other flags")],
        ),
        fault(
            "writes a truth that HAProxy does not believe",
            answering(b"\x01\x03\x02\x01v\x31"),
            [("N13", "other flags")],
        ),
        fault(
            "names a variable in two words",
            answering(b"\x01\x03\x02\x09two words\x00"),
            [("N14", "two words")],
        ),
        fault(
            "begins with an action that nobody knows",
            answering(b"\x09\x01\x02\x01\x03\x02\x01v\x00"),
            [("N15", "broke the protocol")],
        ),
        fault(
            "counts the arguments of an action wrongly",
            answering(b"\x01\x02\x02\x01v\x00"),
            [("N15", "broke the protocol")],
        ),
        fault(
            "says everything twice",
            saying(|_, frames| {
                let acks = frames.iter().filter(|wire| wire.frame_type == 103);
                let again = acks.flat_map(Wire::bytes);
                vec![frames.iter().flat_map(Wire::bytes).chain(again).collect()]
            }),
            [("N17.1", "one for stream-id 1")],
        ),
        fault(
            "says everything twice, the second time later",
            saying(|_, frames| {
                let bytes: Vec<u8> = frames.iter().flat_map(Wire::bytes).collect();
                match frames[0].ids {
                    (5, 1) => vec![bytes.clone(), bytes],
                    _ => vec![bytes],
                }
            }),
            [("N17.1", "an ACK for stream-id 5")],
        ),
        fault(
            "sets a flag that is not assigned",
            changing(103, |_, ack| ack.flags = 5),
            [("N17.2", "0x5")],
        ),
    ]
}
