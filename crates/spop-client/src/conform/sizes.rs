//! F14 and F15: the max-frame-size that was agreed on, in both directions.

use super::wire::{self, Hello, SHORT_HEADER};
use super::{Agent, Case, Stop, Verdict, must, should};
use crate::hello::MAX_FRAME_SIZE;

pub(super) const CASES: &[Case] = &[
    must(
        "F14",
        "an answer never exceeds the max-frame-size, here 256",
        "SPOE.txt 3.2.5; HAProxy from 3.1 on loses all that is in flight over it",
        |agent| Box::pin(small_answers(agent)),
    ),
    must(
        "F15.1",
        "a NOTIFY of exactly the max-frame-size is answered",
        "SPOE.txt 3.2.5",
        |agent| Box::pin(largest_agreed(agent)),
    ),
    should(
        "F15.2",
        "a NOTIFY of what HAProxy announced is answered, even if less was agreed on",
        "HAProxy 3.1 before the fix of 3.2-dev12 sends such frames",
        |agent| Box::pin(largest_announced(agent)),
    ),
];

/// The smallest max-frame-size that may be agreed on.
const SMALLEST: u32 = 256;

async fn small_answers(agent: &Agent) -> Verdict {
    let hello = Hello::new().set("max-frame-size", SMALLEST);
    let (mut probe, _) = agent.greet_with(&hello).await?;
    let mut questions = vec![agent.question().to_vec()];
    // As much as fits, for agents that answer with what they got.
    let long = wire::notify_of_length(SMALLEST as usize, (1, 1), agent.name());
    questions.extend(long.and_then(|notify| Some(notify.get(4 + SHORT_HEADER..)?.to_vec())));
    questions.retain(|payload| payload.len() + SHORT_HEADER <= SMALLEST as usize);
    if questions.is_empty() {
        return Err(Stop::skipped("the message does not fit in 256 bytes"));
    }
    for (stream_id, payload) in (1..).zip(questions) {
        let answer = probe.asks((stream_id, 1), &payload).await?;
        let length = answer.payload.len() + SHORT_HEADER;
        if length > SMALLEST as usize {
            let expected = format!("an ACK of {SMALLEST} bytes at most");
            return Err(Stop::failed(expected, format!("{length} bytes")));
        }
    }
    Ok(())
}

async fn largest_agreed(agent: &Agent) -> Verdict {
    let (mut probe, answer) = agent.greet_with(&Hello::new()).await?;
    let agreed = answer
        .max_frame_size
        .unwrap_or_else(|| MAX_FRAME_SIZE.into());
    ask_with_length(agent, &mut probe, agreed).await
}

async fn largest_announced(agent: &Agent) -> Verdict {
    // tune.bufsize 32768: twice the default, and what agents agree on mostly.
    let announced = 2 * (MAX_FRAME_SIZE + 4) - 4;
    let hello = Hello::new().set("max-frame-size", announced);
    let (mut probe, answer) = agent.greet_with(&hello).await?;
    if answer.max_frame_size == Some(announced.into()) {
        let reason = format!("the agent agrees to all of the {announced} bytes announced");
        return Err(Stop::skipped(&reason));
    }
    ask_with_length(agent, &mut probe, announced.into()).await
}

async fn ask_with_length(agent: &Agent, probe: &mut super::probe::Probe, length: u64) -> Verdict {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let notify = wire::notify_of_length(length, (1, 1), agent.name());
    let Some(notify) = notify else {
        return Err(Stop::skipped("the name of the message does not fit"));
    };
    probe.send(&notify).await?;
    probe.ack((1, 1)).await.map(drop)
}
