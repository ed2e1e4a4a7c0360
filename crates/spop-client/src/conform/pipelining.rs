//! P1 to P9: many NOTIFYs at once, on one connection and on several.

use super::wire::{self, Hello, Ids, odd_ids};
use super::{Agent, Case, Verdict, must};

pub(super) const CASES: &[Case] = &[
    must(
        "P1",
        "100 NOTIFYs in one write are all answered, in any order",
        "SPOE.txt 3.2.1 pipelining",
        |agent| Box::pin(hundred(agent)),
    ),
    must(
        "P3",
        "200 NOTIFYs before an answer is read are no reason to disconnect",
        "HAProxy's limit of 20 does not count those that timed out",
        |agent| Box::pin(many_outstanding(agent)),
    ),
    must(
        "P5",
        "the same ids a second time, at once or later, are a new question",
        "HAProxy up to 3.0 uses them again after a timeout",
        |agent| Box::pin(same_ids_again(agent)),
    ),
    must(
        "P6",
        "the same ids on two connections at once are two questions",
        "HAProxy from 3.1 on counts on each connection from 1",
        |agent| Box::pin(same_ids_elsewhere(agent)),
    ),
    must(
        "P7",
        "a second NOTIFY before the first ACK is answered, even without pipelining",
        "HAProxy sends one after the first timed out",
        |agent| Box::pin(without_pipelining(agent)),
    ),
    must(
        "P8",
        "events of one stream on two connections are answered where they came in",
        "HAProxy takes any idle connection for each event",
        |agent| Box::pin(events_apart(agent)),
    ),
    must(
        "P9",
        "a connection that does not read its answers does not hold up another",
        "HAProxy stops to read when it is busy",
        |agent| Box::pin(unread_answers(agent)),
    ),
];

/// Bytes that a connection takes although nobody reads.
const UNREAD: usize = 128 << 10;

async fn hundred(agent: &Agent) -> Verdict {
    let mut probe = agent.greet_pipelining().await?;
    let ids = odd_ids(100);
    probe.send(&wire::notifies(&ids, agent.question())).await?;
    probe.acks(&ids).await.map(drop)
}

async fn many_outstanding(agent: &Agent) -> Verdict {
    let mut probe = agent.greet_pipelining().await?;
    let ids = odd_ids(200);
    for ids in ids.chunks(20) {
        probe.send(&wire::notifies(ids, agent.question())).await?;
    }
    probe.acks(&ids).await.map(drop)
}

async fn same_ids_again(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    for _ in 0..2 {
        probe.asks((1, 1), agent.question()).await?;
    }
    let ids: [Ids; 3] = [(1, 1); 3];
    probe.send(&wire::notifies(&ids, agent.question())).await?;
    probe.acks(&ids).await.map(drop)
}

async fn same_ids_elsewhere(agent: &Agent) -> Verdict {
    let mut one = agent.greet().await?;
    let mut other = agent.greet().await?;
    let ids: [Ids; 1] = [(1, 1)];
    let notify = wire::notifies(&ids, agent.question());
    for _ in 0..5 {
        one.send(&notify).await?;
        other.send(&notify).await?;
        other.acks(&ids).await?;
        one.acks(&ids).await?;
    }
    Ok(())
}

async fn without_pipelining(agent: &Agent) -> Verdict {
    let hello = Hello::new().set("capabilities", "");
    let (mut probe, _) = agent.greet_with(&hello).await?;
    let ids = odd_ids(2);
    probe.send(&wire::notifies(&ids, agent.question())).await?;
    probe.acks(&ids).await.map(drop)
}

async fn events_apart(agent: &Agent) -> Verdict {
    let mut one = agent.greet().await?;
    let mut other = agent.greet().await?;
    one.send(&wire::notify((7, 1), agent.question())).await?;
    other.send(&wire::notify((7, 2), agent.question())).await?;
    one.ack((7, 1)).await?;
    other.ack((7, 2)).await?;
    one.asks((7, 3), agent.question()).await.map(drop)
}

async fn unread_answers(agent: &Agent) -> Verdict {
    let mut busy = agent.greet_pipelining().await?;
    // As many as are sure to find room on their way.
    let fit = UNREAD / agent.question().len().max(1);
    let ids = odd_ids(fit.clamp(20, 1000) as u64);
    for ids in ids.chunks(100) {
        busy.send(&wire::notifies(ids, agent.question())).await?;
    }
    let mut other = agent.greet().await?;
    for stream_id in [1, 3, 5] {
        other.asks((stream_id, 1), agent.question()).await?;
    }
    busy.acks(&ids).await.map(drop)
}
