//! H10 to H16: the handshake around the HELLO, and the patience of the agent.

use std::time::Duration;

use spop_codec::AgentConfig;

use super::{CLOSED, Fault, NOTHING, each, fault};
use crate::broken::{Fate, hearing, hearing_hello, sound};
use crate::wire::Wire;

pub(crate) fn faults() -> Vec<Fault> {
    let patient = Duration::from_secs(3600);
    let patient = AgentConfig::new()
        .with_hello_timeout(patient)
        .with_frame_timeout(patient);
    vec![
        fault(
            "answers before the HELLO",
            hearing(|past, wire| match (past.frames, wire.frame_type) {
                (1, 3) => Fate::Say(vec![Wire::ack(wire.ids)]),
                _ => Fate::Hear,
            }),
            [("H10.1", "an ACK, then nothing")],
        ),
        fault(
            "minds no second HELLO",
            hearing(|past, wire| match (past.frames, wire.frame_type) {
                (2.., 1) => Fate::Ignore,
                _ => Fate::Hear,
            }),
            [("H10.2", NOTHING)],
        ),
        fault(
            "has all the time of the world",
            sound().with_config(patient),
            each(["H12.1", "H12.2", "X3"], "it stays open"),
        ),
        fault(
            "dies when a connection is reset",
            sound().dying_of_resets(),
            each(["H13.1", "C6", "D4.1", "D4.2", "X8"], ""),
        ),
        fault(
            "dies when a connection is closed before a word",
            sound().dying_of_silence(),
            [("H13.2", "")],
        ),
        fault(
            "does not hear HAPROXY-DISCONNECT",
            hearing(|_, wire| match wire.frame_type {
                2 => Fate::Ignore,
                _ => Fate::Hear,
            }),
            [
                ("H14", NOTHING),
                ("D1.1", NOTHING),
                ("D1.2", "ACKs, then nothing"),
                ("D2", NOTHING),
            ],
        ),
        fault(
            "takes 50 connections",
            sound().with_most_connections(50),
            [("H15", "")],
        ),
        fault(
            "wants an engine-id",
            hearing_hello(|_, hello| match hello.value("engine-id") {
                Some(_) => Fate::Hear,
                None => Fate::HangUp,
            }),
            each(["H16.1", "C1"], CLOSED),
        ),
        fault(
            "takes one connection of each engine-id",
            hearing_hello(|past, hello| {
                let engine_id = hello.text("engine-id").unwrap_or_default();
                match past.shared.lock().unwrap().insert(engine_id.to_vec()) {
                    true => Fate::Hear,
                    false => Fate::HangUp,
                }
            }),
            [("H16.2", CLOSED)],
        ),
        fault(
            "wants an engine-id that is UTF-8",
            hearing_hello(|_, hello| match std::str::from_utf8(&hello.payload) {
                Ok(_) => Fate::Hear,
                Err(_) => Fate::HangUp,
            }),
            [("H16.3", CLOSED)],
        ),
    ]
}
