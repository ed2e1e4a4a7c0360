//! F: where frames end, and what their headers say.

use spop_codec::{AgentConfig, Notify, Scope, TypedData};

use super::{CLOSED, Fault, NOTHING, each, fault, values};
use crate::broken::{Broken, Fate, Past, changing, hearing, minding, saying, sound};
use crate::wire::{Wire, string};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        fault(
            "takes each read for a frame",
            sound().reading_whole_frames(),
            each(["F1.1", "F1.2"], "the connection"),
        ),
        fault(
            "drops what is behind the first frame of a read",
            sound().reading_one_frame(),
            each(["F2.1", "F2.2", "F7", "P1", "P5", "P7"], NOTHING),
        ),
        fault(
            "writes the HELLO in two pieces",
            saying(|_, frames| {
                let bytes = frames[0].bytes();
                vec![bytes[..11].to_vec(), bytes[11..].to_vec()]
            }),
            [("F5", "11 bytes")],
        ),
        fault(
            "answers with whatever it got",
            sound()
                .with_config(AgentConfig::new().with_max_ack_size(1 << 20))
                .with_answer(|notify| {
                    let texts = notify.messages().flat_map(|message| message.args());
                    texts.fold(Default::default(), |actions, arg| match arg.value {
                        TypedData::String(text) => {
                            actions_with(actions, text.to_str().unwrap_or_default())
                        }
                        _ => actions,
                    })
                }),
            [("F6", "bytes after 20 questions")],
        ),
        fault(
            "writes an answer in the middle of another",
            saying(|_, frames| match &frames[..] {
                [one, other, rest @ ..] => {
                    let (front, back) = (one.bytes(), one.bytes());
                    let rest: Vec<u8> = rest.iter().flat_map(Wire::bytes).collect();
                    vec![[&front[..6], &other.bytes(), &back[6..], &rest].concat()]
                }
                _ => vec![frames.iter().flat_map(Wire::bytes).collect()],
            }),
            [("F7", "broke the protocol")],
        ),
        fault(
            "keeps ids in 16 bits",
            changing(103, |_, ack| {
                ack.ids = (ack.ids.0 & 0xffff, ack.ids.1 & 0xffff);
            }),
            [
                ("F8.1", "stream-id 2287"),
                ("N2.1", "stream-id 65535"),
                ("N2.2", "stream-id 0"),
            ],
        ),
        fault(
            "cannot read texts whose length takes two bytes",
            minding(|_, notify| longest(notify) >= 240, || Fate::HangUp),
            each(["F8.2", "F15.1", "F15.2"], CLOSED),
        ),
        fault(
            "insists on the flag FIN and no other",
            hearing(|_, wire| match wire.flags {
                1 => Fate::Hear,
                _ => Fate::HangUp,
            }),
            each(["F10", "F11"], CLOSED),
        ),
        fault(
            "knows all types there will ever be",
            hearing(|_, wire| match wire.frame_type {
                0..=3 | 101..=103 => Fate::Hear,
                _ => Fate::HangUp,
            }),
            [("F12", CLOSED), ("X4", "")],
        ),
        fault(
            "answers with 300 bytes, whatever was agreed on",
            answering_with_300_bytes(),
            [("F14", "310 bytes")],
        ),
    ]
}

fn longest(notify: &Notify) -> usize {
    let texts = values(notify).filter_map(|value| value.to_bytes());
    texts.map(<[u8]>::len).max().unwrap_or_default()
}

fn actions_with(actions: spop_codec::Actions, text: &str) -> spop_codec::Actions {
    actions.set_var(Scope::Transaction, "text", text)
}

fn answering_with_300_bytes() -> Broken {
    changing(103, |_: &Past, ack| {
        ack.payload = vec![1, 3, 2, 1, b'v'];
        ack.payload.extend(string(&"x".repeat(295)));
    })
}
