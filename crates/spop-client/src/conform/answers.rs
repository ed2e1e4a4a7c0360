//! N12 to N17: the ACK itself, and the actions in it as HAProxy reads them.

use bytes::Bytes;
use spop_codec::{Action, Flags, Scope};

use super::probe::{A_WHILE, Answer};
use super::wire::put_counted;
use super::{Agent, Case, Stop, Verdict, must, should};

pub(super) const CASES: &[Case] = &[
    must(
        "N12",
        "integers in actions arrive in HAProxy as they were meant",
        "HAProxy reads every integer as 64 bits with a sign, whatever its type",
        |agent| Box::pin(integers(agent)),
    ),
    must(
        "N13",
        "the types in actions have the flags that HAProxy expects",
        "BOOL is 0x11 or 0x01, the other types have none; HAProxy compares some as a whole",
        |agent| Box::pin(types(agent)),
    ),
    must(
        "N14",
        "the names of variables are such that HAProxy sets them",
        "SPOE.txt 3.4; HAProxy has room for 63 bytes, scope and prefix included",
        |agent| Box::pin(names(agent)),
    ),
    must(
        "N15",
        "no action is one that HAProxy stops at",
        "SPOE.txt 3.4; HAProxy drops the first bad one and all behind it without a word",
        |agent| Box::pin(sound_actions(agent)),
    ),
    must(
        "N17.1",
        "each NOTIFY gets exactly one ACK",
        "SPOE.txt 3.2.7; HAProxy from 3.1 on loses all that is in flight over an unknown one",
        |agent| Box::pin(exactly_one(agent)),
    ),
    should(
        "N17.2",
        "an ACK has the flag FIN and no other",
        "SPOE.txt 3.2",
        |agent| Box::pin(fin_alone(agent)),
    ),
];

/// The longest name that fits beside the shortest scope and prefix, `txn.x.`.
const MAX_NAME: usize = 63 - 6;

/// What is wrong with the first action, if any, that is not in the form HAProxy reads.
#[derive(Debug, PartialEq, Eq)]
enum Odd {
    Integer(String),
    Tag(String),
}

async fn integers(agent: &Agent) -> Verdict {
    let answer = answer_with_actions(agent).await?;
    match first_odd(&answer.payload, &answer) {
        Some(Odd::Integer(got)) => {
            let expected = "integers that 64 bits with a sign hold, written as such";
            Err(Stop::failed(expected, got))
        }
        _ => Ok(()),
    }
}

async fn types(agent: &Agent) -> Verdict {
    let answer = answer_with_actions(agent).await?;
    match first_odd(&answer.payload, &answer) {
        Some(Odd::Tag(got)) => Err(Stop::failed("a plain type byte", got)),
        _ => Ok(()),
    }
}

async fn names(agent: &Agent) -> Verdict {
    let answer = answer_with_actions(agent).await?;
    for action in answer.ack.actions() {
        let (Action::SetVar { name, .. } | Action::UnsetVar { name, .. }) = action else {
            continue;
        };
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if name.is_empty() || name.len() > MAX_NAME || !name.as_bytes().iter().all(allowed) {
            let expected = format!("1 to {MAX_NAME} letters, digits, `_` and `.`");
            return Err(Stop::failed(expected, format!("{name:?}")));
        }
    }
    Ok(())
}

async fn sound_actions(agent: &Agent) -> Verdict {
    // Decoding an ACK takes every action apart.
    answer_with_actions(agent).await.map(drop)
}

async fn exactly_one(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    for stream_id in [1, 3, 5] {
        probe.asks((stream_id, 1), agent.question()).await?;
    }
    probe.silent(A_WHILE, "nothing more").await
}

async fn fin_alone(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let answer = probe.asks((1, 1), agent.question()).await?;
    match answer.header.flags {
        Flags::FIN => Ok(()),
        Flags(other) => Err(Stop::failed("flags 0x1", format!("{other:#x}"))),
    }
}

async fn answer_with_actions(agent: &Agent) -> Verdict<Answer> {
    let mut probe = agent.greet().await?;
    let answer = probe.asks((1, 1), agent.question()).await?;
    if answer.ack.actions().next().is_none() {
        let reason = if agent.knows_the_message() {
            "the answer to the message has no actions"
        } else {
            "the agent sets no variable for a message it does not know; name one that it knows"
        };
        return Err(Stop::skipped(reason));
    }
    Ok(answer)
}

/// Each value has one form that every HAProxy reads as it was meant. This compares.
fn first_odd(payload: &Bytes, answer: &Answer) -> Option<Odd> {
    let mut rest = &payload[..];
    for action in answer.ack.actions() {
        if let Action::SetVar { name, value, .. } = action
            && value
                .to_u64()
                .is_some_and(|value| value > i64::MAX.cast_unsigned())
        {
            return Some(Odd::Integer(format!("{value:?} in {name}")));
        }
        let form = written(&action);
        match rest.strip_prefix(&form[..]) {
            Some(next) => rest = next,
            None => return Some(odd(&action)),
        }
    }
    None
}

fn odd(action: &Action<'_>) -> Odd {
    match action {
        Action::SetVar { name, value, .. } if value.to_i64().is_some() => {
            Odd::Integer(format!("{value:?} in {name}, written another way"))
        }
        other => Odd::Tag(format!("other flags in {other:?}")),
    }
}

/// The one form.
fn written(action: &Action<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match *action {
        Action::SetVar { scope, name, value } => {
            out.extend([1, 3, code(scope)]);
            put_counted(name.as_bytes(), &mut out);
            value.encode(&mut out);
        }
        Action::UnsetVar { scope, name } => {
            out.extend([2, 2, code(scope)]);
            put_counted(name.as_bytes(), &mut out);
        }
        _ => {}
    }
    out
}

const fn code(scope: Scope) -> u8 {
    match scope {
        Scope::Process => 0,
        Scope::Session => 1,
        Scope::Transaction => 2,
        Scope::Request => 3,
        Scope::Response => 4,
    }
}
