//! D1 to D6: how connections end, by words and without.

use spop_codec::{Flags, FrameType, Status, TypedData};

use super::hello::served;
use super::wire::{self, Hello, odd_ids, put_pair};
use super::{After, Agent, Case, Verdict, must, should};

pub(super) const CASES: &[Case] = &[
    must(
        "D1.1",
        "HAPROXY-DISCONNECT is answered with AGENT-DISCONNECT, and the connection closed",
        "SPOE.txt 3.2.8, 3.2.9; HAProxy up to 3.0 says it to idle connections",
        |agent| Box::pin(said_goodbye(agent)),
    ),
    must(
        "D1.2",
        "HAPROXY-DISCONNECT behind NOTIFYs is answered, and the connection closed",
        "SPOE.txt 3.2.8",
        |agent| Box::pin(goodbye_in_flight(agent)),
    ),
    should(
        "D2",
        "a status that is not assigned, a long message, no message, unknown keys are no error",
        "SPOE.txt 3.2.8, 3.5",
        |agent| Box::pin(odd_goodbyes(agent)),
    ),
    must(
        "D3.1",
        "a connection that HAProxy closes is closed by the agent, idle or not",
        "HAProxy ends by FIN when it is stopped; an open half is a leak",
        |agent| Box::pin(closed_by_haproxy(agent)),
    ),
    must(
        "D3.2",
        "a connection that HAProxy closes in the middle of a frame is closed by the agent",
        "HAProxy may be killed at any time",
        |agent| Box::pin(closed_in_a_frame(agent)),
    ),
    must(
        "D4.1",
        "connections that are reset with NOTIFYs in flight do no harm to others",
        "HAProxy from 3.1 on ends idle connections by RST, and may be killed at any time",
        |agent| Box::pin(reset_in_flight(agent)),
    ),
    must(
        "D4.2",
        "connections that are reset in the middle of a frame do no harm to others",
        "HAProxy may be killed at any time",
        |agent| Box::pin(reset_in_a_frame(agent)),
    ),
    should(
        "D6",
        "a broken frame behind good ones is refused with a status, after their answers",
        "SPOE.txt 3.2.9",
        |agent| Box::pin(broken_behind_good(agent)),
    ),
];

async fn said_goodbye(agent: &Agent) -> Verdict {
    for status in [Status::NORMAL, Status::TIMEOUT] {
        let mut probe = agent.greet().await?;
        probe.asks((1, 1), agent.question()).await?;
        probe.send(&wire::disconnect(status.0)).await?;
        probe.goodbye().await?;
    }
    Ok(())
}

async fn goodbye_in_flight(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let questions = wire::notifies(&odd_ids(3), agent.question());
    let goodbye = wire::disconnect(Status::NORMAL.0);
    probe.send(&[questions, goodbye].concat()).await?;
    probe.goodbye().await.map(drop)
}

async fn odd_goodbyes(agent: &Agent) -> Verdict {
    let long = "x".repeat(1000);
    type Pairs<'a> = &'a [(&'a str, TypedData<'a>)];
    let goodbyes: [(&str, Pairs<'_>); 4] = [
        (
            "status 4711",
            &[("status-code", 4711_u32.into()), ("message", "?".into())],
        ),
        (
            "a message of 1000 bytes",
            &[
                ("status-code", 1_u32.into()),
                ("message", long.as_str().into()),
            ],
        ),
        (
            "a status without a message",
            &[("status-code", 1_u32.into())],
        ),
        (
            "unknown keys",
            &[
                ("x-reason", TypedData::Null),
                ("status-code", 99_u32.into()),
                ("message", "".into()),
                ("x-more", true.into()),
            ],
        ),
    ];
    for (what, pairs) in goodbyes {
        let mut payload = Vec::new();
        for (key, value) in pairs {
            put_pair(key, *value, &mut payload);
        }
        let mut probe = agent.greet().await?;
        probe.send(&wire::bye(&payload)).await?;
        probe.goodbye().await.after(what)?;
    }
    Ok(())
}

async fn closed_by_haproxy(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    probe.asks((1, 1), agent.question()).await?;
    probe.finish(agent.timeout()).await?;

    let mut probe = agent.greet().await?;
    let questions = wire::notifies(&odd_ids(5), agent.question());
    probe.send(&questions).await?;
    probe.finish(agent.timeout()).await
}

async fn closed_in_a_frame(agent: &Agent) -> Verdict {
    let notify = wire::notify((1, 1), agent.question());
    for cut in [2, 4, 10, notify.len() - 1] {
        let mut probe = agent.greet().await?;
        probe.send(notify.get(..cut).unwrap_or(&notify)).await?;
        probe.finish(agent.timeout()).await?;
    }
    Ok(())
}

async fn reset_in_flight(agent: &Agent) -> Verdict {
    let mut other = agent.greet().await?;
    let questions = wire::notifies(&odd_ids(20), agent.question());
    for _ in 0..20 {
        let mut probe = agent.greet().await?;
        probe.send(&questions).await?;
        probe.reset();
    }
    other.asks((1, 1), agent.question()).await?;
    served(agent, Hello::new()).await
}

async fn reset_in_a_frame(agent: &Agent) -> Verdict {
    let mut other = agent.greet().await?;
    let notify = wire::notify((1, 1), agent.question());
    for cut in [2, 4, 10, notify.len() - 1] {
        let mut probe = agent.greet().await?;
        probe.send(notify.get(..cut).unwrap_or(&notify)).await?;
        probe.reset();
    }
    other.asks((1, 1), agent.question()).await?;
    served(agent, Hello::new()).await
}

async fn broken_behind_good(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let good = wire::notifies(&odd_ids(3), agent.question());
    // A message that says one argument and has none.
    let broken = wire::frame(FrameType::NOTIFY, Flags::FIN, (7, 1), b"\x01m\x01");
    probe.send(&[good, broken].concat()).await?;
    probe.refused(Status::INVALID_FRAME).await
}
