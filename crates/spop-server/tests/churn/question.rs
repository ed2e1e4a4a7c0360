//! Questions of all kinds, and their answers.

use bytes::BytesMut;
use fastrand::Rng;
use spop_client::spop_codec::{
    Flags, FrameDecoder, FrameType, Notify, NotifyBuilder, RawFrame, TypedData,
};

pub(crate) struct Question {
    pub(crate) notify: Notify,
    message: &'static str,
    answer: &'static str,
}

const LATE: &str = "sess.failure=deadline";

/// Each message of the agent, with its answer.
const MESSAGES: [(&str, &str); 12] = [
    ("ready", "sess.how=ready"),
    ("yield", "sess.how=yield"),
    ("slow", "sess.how=slow"),
    ("elsewhere", "sess.how=elsewhere"),
    ("fail", ""),
    ("panic", "sess.failure=panic"),
    ("panic-later", "sess.failure=panic"),
    ("panic-at-once", "sess.failure=panic"),
    ("never", LATE),
    ("void", "sess.failure=void-actions"),
    ("huge", "sess.failure=ack-too-big"),
    ("no-such-message", ""),
];

impl Question {
    /// Every second one is simple.
    pub(crate) fn random(rng: &mut Rng, frame_id: u64) -> Self {
        let which = if rng.bool() {
            0
        } else {
            rng.usize(0..MESSAGES.len())
        };
        let (message, answer) = MESSAGES[which];
        let filling = if rng.u8(0..8) == 0 {
            rng.usize(0..12_000)
        } else {
            0
        };
        let filling = "x".repeat(filling);
        let args = [
            ("ms", TypedData::Uint64(rng.u64(0..50))),
            ("filling", filling.as_str().into()),
        ];
        let notify = NotifyBuilder::new().message(message, args).unwrap();
        // Ids of all lengths.
        let stream_id = rng.u64(..) >> rng.u32(0..64);
        Self {
            notify: notify.build(stream_id, frame_id),
            message,
            answer,
        }
    }

    pub(crate) fn is_answered_by(&self, answer: &str) -> bool {
        // On a machine that stood still a handler that needs time may be late.
        let may_be_late = matches!(self.message, "slow" | "elsewhere");
        answer == self.answer || may_be_late && answer == LATE
    }

    /// The NOTIFY in fragments, as HAProxy up to 3.0 sends it.
    pub(crate) fn encode_fragments(&self, rng: &mut Rng, out: &mut BytesMut) {
        let mut whole = BytesMut::new();
        self.notify.encode(&mut whole);
        let raw = FrameDecoder::new(1 << 16).next(&mut whole);
        let RawFrame {
            mut header,
            mut payload,
            ..
        } = raw.unwrap().unwrap();
        let most = payload.len() / rng.usize(1..6) + 1;
        loop {
            let fragment = payload.split_to(most.min(payload.len()));
            header.flags = if payload.is_empty() {
                Flags::FIN
            } else {
                Flags(0)
            };
            RawFrame::new(header, fragment).encode(out);
            if payload.is_empty() {
                return;
            }
            header.frame_type = FrameType::UNSET;
        }
    }
}
