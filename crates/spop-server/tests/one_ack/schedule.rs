//! What happens, drawn at random, and which answers are right then.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use spop_client::spop_codec::{Flags, Notify, NotifyBuilder, TypedData};

/// The handlers' time. No handler is done near it, where either answer is right.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);
const JUST_IN_TIME: u64 = 90;
const JUST_TOO_LATE: u64 = 110;

/// A message, by what its handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Ready,
    Borrowed,
    Fail,
    Void,
    Huge,
    Unknown,
    PanicAtCall,
    PanicAtPoll,
    /// The service panics when it is asked whether it is ready.
    PanicAtReady,
    Yield,
    PanicLater,
    /// Milliseconds.
    Slow(u64),
    Never,
    /// The service takes a while to be ready, then answers at once.
    LateReady,
    TooLateReady,
    NeverReady,
    /// Answers, and panics when it is dropped.
    Bomb,
    /// Never answers, and panics when it is dropped.
    StuckBomb,
}

impl Message {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Borrowed => "borrowed",
            Self::Fail => "fail",
            Self::Void => "void",
            Self::Huge => "huge",
            Self::Unknown => "unknown",
            Self::PanicAtCall => "panic-at-call",
            Self::PanicAtPoll => "panic-at-poll",
            Self::PanicAtReady => "panic-at-ready",
            Self::Yield => "yield",
            Self::PanicLater => "panic-later",
            Self::Slow(_) => "slow",
            Self::Never => "never",
            Self::LateReady => "late-ready",
            Self::TooLateReady => "too-late-ready",
            Self::NeverReady => "never-ready",
            Self::Bomb => "bomb",
            Self::StuckBomb => "stuck-bomb",
        }
    }

    const fn panics_at_once(self) -> bool {
        matches!(
            self,
            Self::PanicAtCall | Self::PanicAtPoll | Self::PanicAtReady
        )
    }

    const fn is_done_at_once(self) -> bool {
        self.panics_at_once()
            || matches!(
                self,
                Self::Ready | Self::Borrowed | Self::Fail | Self::Void | Self::Huge | Self::Unknown
            )
    }

    const fn is_too_late(self) -> bool {
        match self {
            Self::Slow(millis) => millis > JUST_IN_TIME,
            _ => matches!(
                self,
                Self::Never | Self::TooLateReady | Self::NeverReady | Self::StuckBomb
            ),
        }
    }

    /// What it adds to the answer.
    const fn adds(self) -> Option<&'static str> {
        match self {
            Self::Fail | Self::Unknown => None,
            other => Some(other.name()),
        }
    }
}

/// A NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) messages: Vec<Message>,
    pub(crate) aborted: bool,
    /// What the frame is filled up to with an argument that nobody reads, in bytes.
    pub(crate) size: usize,
}

impl Question {
    pub(crate) const fn of(messages: Vec<Message>) -> Self {
        Self {
            messages,
            aborted: false,
            size: 0,
        }
    }

    pub(crate) fn encode(&self, ids: (u64, u64), out: &mut BytesMut) {
        let start = out.len();
        self.notify(ids, 0).encode(out);
        let padding = self.size.saturating_sub(out.len() - start);
        if padding > 0 {
            out.truncate(start);
            self.notify(ids, padding).encode(out);
        }
        if self.aborted {
            // Length and type come before the flags, of which this is the last byte.
            out[start + 8] |= u8::try_from(Flags::ABORT.0).unwrap();
        }
    }

    /// The frame, with so many bytes too many.
    fn notify(&self, (stream_id, frame_id): (u64, u64), mut padding: usize) -> Notify {
        let mut builder = NotifyBuilder::new();
        for message in &self.messages {
            let millis = match message {
                Message::Slow(millis) => *millis,
                _ => 0,
            };
            let filling = "x".repeat(std::mem::take(&mut padding));
            let args = [
                ("ms", TypedData::Uint64(millis)),
                ("filling", filling.as_str().into()),
            ];
            builder = builder.message(message.name(), args).unwrap();
        }
        builder.build(stream_id, frame_id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Waits for all answers, and then some, before it says HAPROXY-DISCONNECT.
    Stay,
    /// Says HAPROXY-DISCONNECT behind its last question.
    Disconnect,
    /// Is gone after its last question.
    Gone,
    /// Closes its half of the connection after its last question.
    HalfClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Fast,
    /// So many bytes a millisecond, and little room in between.
    Slow(usize),
}

impl Reader {
    /// Bytes between the two ends, each way.
    pub(crate) const fn pipe(self) -> usize {
        match self {
            Self::Fast => 1 << 16,
            Self::Slow(_) => 512,
        }
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is written at once, and the milliseconds after it.
    pub(crate) batches: Vec<(Vec<Question>, u64)>,
    pub(crate) reader: Reader,
    pub(crate) ending: Ending,
}

impl Plan {
    pub(crate) fn of(questions: Vec<Question>) -> Self {
        Self {
            batches: vec![(questions, 0)],
            reader: Reader::Fast,
            ending: Ending::Stay,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) connections: Vec<Plan>,
    /// Per connection.
    pub(crate) max_in_flight: usize,
    /// Whether few handlers may wait in the whole process.
    pub(crate) sheds: bool,
    /// NOTIFYs that run at once behind tower's concurrency limit.
    pub(crate) gate: Option<usize>,
    pub(crate) drain_after: Option<Duration>,
    pub(crate) drain_timeout: Duration,
}

impl Schedule {
    pub(crate) const fn of(connections: Vec<Plan>) -> Self {
        Self {
            connections,
            max_in_flight: 64,
            sheds: false,
            gate: None,
            drain_after: None,
            drain_timeout: Duration::from_secs(60),
        }
    }

    /// Every answer that `question` may get: variables in order, values only, or the failure.
    pub(crate) fn answers_to(&self, question: &Question) -> BTreeSet<String> {
        let messages = &question.messages;
        if question.aborted {
            return BTreeSet::from([String::new()]);
        }
        let failure = |what: &str| format!("failure={what}");
        let is = |what: Message| messages.contains(&what);
        let panics = messages.iter().any(|message| message.panics_at_once());
        let answer = if panics || is(Message::PanicLater) {
            failure("panic")
        } else if messages.iter().any(|message| message.is_too_late()) {
            failure("deadline")
        } else if is(Message::Void) {
            failure("void-actions")
        } else if is(Message::Huge) {
            failure("ack-too-big")
        } else {
            let added: Vec<_> = messages
                .iter()
                .filter_map(|message| message.adds())
                .collect();
            added.join(" ")
        };
        let mut answers = BTreeSet::from([answer]);
        let at_once = panics || messages.iter().all(|message| message.is_done_at_once());
        if is(Message::Bomb) {
            // Whether it is dropped before or after the answer is taken is nobody's business.
            answers.insert(failure("panic"));
        }
        if self.gate.is_some() {
            answers.insert(failure("deadline"));
        }
        if self.sheds && (!at_once || self.gate.is_some()) {
            answers.insert(failure("overload"));
        }
        answers
    }
}

pub(crate) fn random() -> impl Strategy<Value = Schedule> {
    (
        vec(plan(), 1..5),
        20..40_usize,
        any::<bool>(),
        option::weighted(0.3, 1..30_usize),
        option::weighted(0.4, (1..400_u64).prop_map(Duration::from_millis)),
    )
        .prop_map(
            |(connections, max_in_flight, sheds, gate, drain_after)| Schedule {
                max_in_flight,
                sheds,
                gate,
                drain_after,
                ..Schedule::of(connections)
            },
        )
}

fn plan() -> impl Strategy<Value = Plan> {
    let reader = prop_oneof![
        2 => Just(Reader::Fast),
        1 => (10..200_usize).prop_map(Reader::Slow),
    ];
    let ending = prop_oneof![
        4 => Just(Ending::Stay),
        1 => Just(Ending::Disconnect),
        1 => Just(Ending::Gone),
        1 => Just(Ending::HalfClose),
    ];
    let batch = (vec(question(), 0..60), 0..120_u64);
    (vec(batch, 1..5), reader, ending).prop_map(|(batches, reader, ending)| Plan {
        batches,
        reader,
        ending,
    })
}

fn question() -> impl Strategy<Value = Question> {
    let messages = prop_oneof![
        1 => Just(Vec::new()),
        12 => message().prop_map(|message| vec![message]),
        4 => vec(message(), 2..4).prop_map(one_bomb),
    ];
    let size = prop_oneof![4 => Just(0), 1 => 0..300_usize];
    (messages, prop::bool::weighted(0.03), size).prop_map(|(messages, aborted, size)| Question {
        messages,
        aborted,
        size,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        8 => prop::sample::select(vec![Message::Ready, Message::Borrowed]),
        3 => Just(Message::Yield),
        3 => (1..JUST_IN_TIME).prop_map(Message::Slow),
        1 => (JUST_TOO_LATE..200).prop_map(Message::Slow),
        8 => prop::sample::select(vec![
            Message::Fail,
            Message::Void,
            Message::Huge,
            Message::Unknown,
            Message::PanicAtCall,
            Message::PanicAtPoll,
            Message::PanicAtReady,
            Message::PanicLater,
            Message::Never,
            Message::LateReady,
            Message::TooLateReady,
            Message::NeverReady,
            Message::Bomb,
            Message::StuckBomb,
        ]),
    ]
}

/// A second panic while the first unwinds ends any Rust program.
fn one_bomb(mut messages: Vec<Message>) -> Vec<Message> {
    let is_bomb = |message: &Message| matches!(message, Message::Bomb | Message::StuckBomb);
    let panics = |message: &Message| message.name().starts_with("panic");
    let mut bombs = usize::from(messages.iter().any(panics));
    for message in &mut messages {
        if is_bomb(message) {
            bombs += 1;
            if bombs > 1 {
                *message = Message::Never;
            }
        }
    }
    messages
}
