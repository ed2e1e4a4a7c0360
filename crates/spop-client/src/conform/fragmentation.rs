//! G1 to G7: NOTIFYs in pieces, as HAProxy up to 3.0 sends them to agents that say they can
//! take them, and pieces that an agent did not ask for.

use std::time::Duration;

use spop_codec::{Capabilities, Flags, Frame, FrameType, Status};

use super::agent::announces;
use super::probe::{A_WHILE, Probe, told};
use super::wire::{self, Hello, Ids};
use super::{Agent, Case, Stop, Verdict, should};

pub(super) const CASES: &[Case] = &[
    should(
        "G1",
        "a NOTIFY in three fragments gets one ACK",
        "SPOE.txt 3.2, 3.2.3",
        |agent| Box::pin(three(agent)),
    ),
    should(
        "G2",
        "fragments may be cut anywhere, inside a number or a text",
        "SPOE.txt 3.2; HAProxy up to 3.0 cuts so",
        |agent| Box::pin(cut_anywhere(agent)),
    ),
    should(
        "G3",
        "a fragment with ABORT ends a NOTIFY that is not answered then",
        "SPOE.txt 3.2; HAProxy up to 3.0 gives up so",
        |agent| Box::pin(given_up(agent)),
    ),
    should(
        "G4",
        "a fragment that continues nothing, or another NOTIFY, is refused with status 11",
        "SPOE.txt 3.2, 3.5",
        |agent| Box::pin(interlaced(agent)),
    ),
    should(
        "G5",
        "a NOTIFY without an end is given up: ACK with ABORT, or AGENT-DISCONNECT",
        "SPOE.txt 3.2.3; nobody bounds it but the agent",
        |agent| Box::pin(endless(agent)),
    ),
    should(
        "G6",
        "a NOTIFY without FIN is refused with status 10 if fragmentation was not announced",
        "SPOE.txt 3.2.1, 3.5; HAProxy up to 3.0 sends none then",
        |agent| Box::pin(not_announced(agent)),
    ),
    should(
        "G7",
        "a whole NOTIFY between fragments is refused with status 11, or answered",
        "SPOE.txt 3.5; HAProxy never does it",
        |agent| Box::pin(in_between(agent)),
    ),
];

/// What no agent should keep in memory for one connection. HAProxy's largest NOTIFY is far
/// below.
const FAR_TOO_MUCH: usize = 24 << 20;

const ABORT: Flags = Flags(Flags::FIN.0 | Flags::ABORT.0);
const MORE: Flags = Flags(0);

/// A connection to an agent that announced fragmentation; skips the case for others.
pub(super) async fn greet_fragmenting(agent: &Agent) -> Verdict<Probe> {
    let (probe, answer) = agent.greet_with(&Hello::old()).await?;
    if announces(&answer, Capabilities::FRAGMENTATION) {
        Ok(probe)
    } else {
        Err(Stop::skipped("the agent does not announce fragmentation"))
    }
}

/// The first fragment of a NOTIFY that has more.
pub(super) fn first(ids: Ids, part: &[u8]) -> Vec<u8> {
    wire::frame(FrameType::NOTIFY, MORE, ids, part)
}

pub(super) fn next(flags: Flags, ids: Ids, part: &[u8]) -> Vec<u8> {
    wire::frame(FrameType::UNSET, flags, ids, part)
}

/// A NOTIFY cut at two places.
fn cut(ids: Ids, payload: &[u8], at: usize, length: usize) -> Vec<u8> {
    let (front, rest) = payload.split_at_checked(at).unwrap_or((payload, &[]));
    let (middle, back) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    let middle = next(MORE, ids, middle);
    [first(ids, front), middle, next(Flags::FIN, ids, back)].concat()
}

async fn three(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    for stream_id in [1, 3, 5] {
        let payload = agent.question();
        let third = payload.len() / 3;
        let frames = cut((stream_id, 1), payload, third, third);
        probe.send(&frames).await?;
        probe.ack((stream_id, 1)).await?;
    }
    probe.asks((7, 1), agent.question()).await.map(drop)
}

async fn cut_anywhere(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    let text = "x".repeat(300);
    let args = [
        (&b"text"[..], text.as_str().into()),
        (b"n", 264_432_i64.into()),
    ];
    let payload = wire::message(agent.name(), &args);
    for (stream_id, at) in (1..).step_by(2).zip(0..payload.len()) {
        let frames = cut((stream_id, 1), &payload, at, 1);
        probe.send(&frames).await?;
        probe.ack((stream_id, 1)).await?;
    }
    Ok(())
}

async fn given_up(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    let front = first((1, 1), agent.question());
    probe
        .send(&[front, next(ABORT, (1, 1), &[])].concat())
        .await?;
    // An ACK would come before this one, or after it.
    probe.asks((3, 1), agent.question()).await?;
    probe.silent(A_WHILE, "nothing more").await
}

async fn interlaced(agent: &Agent) -> Verdict {
    let part = agent.question();
    let mut probe = greet_fragmenting(agent).await?;
    probe.send(&next(Flags::FIN, (1, 1), part)).await?;
    probe.refused(Status::INTERLACED_FRAMES).await?;
    for ids in [(3, 1), (1, 2)] {
        let mut probe = greet_fragmenting(agent).await?;
        let frames = [first((1, 1), part), next(Flags::FIN, ids, part)];
        probe.send(&frames.concat()).await?;
        probe.refused(Status::INTERLACED_FRAMES).await?;
    }
    Ok(())
}

async fn endless(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    let part = vec![0; 16_000];
    probe.send(&first((1, 1), &part)).await?;
    let mut sent = part.len();
    let expected = "an ACK with ABORT, or AGENT-DISCONNECT";
    while sent < FAR_TOO_MUCH {
        let burst = next(MORE, (1, 1), &part).repeat(16);
        if probe.send(&burst).await.is_err() {
            break; // The agent takes no more. It may have said why.
        }
        sent += 16 * part.len();
        if let Some((raw, frame)) = probe
            .frame_within(Duration::from_millis(1), expected)
            .await?
        {
            return match frame {
                Frame::Ack(ack) if ack.is_aborted() => Ok(()),
                Frame::AgentDisconnect(bye) if bye.status != Status::NORMAL => Ok(()),
                other => Err(Stop::failed(expected, told(&raw, &other))),
            };
        }
    }
    Err(Stop::failed(
        expected,
        format!("nothing after {sent} bytes"),
    ))
}

async fn not_announced(agent: &Agent) -> Verdict {
    let (mut probe, answer) = agent.greet_with(&Hello::new()).await?;
    if announces(&answer, Capabilities::FRAGMENTATION) {
        return Err(Stop::skipped("the agent announces fragmentation"));
    }
    probe.send(&first((1, 1), agent.question())).await?;
    probe.refused(Status::FRAGMENTATION_NOT_SUPPORTED).await
}

async fn in_between(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    let part = agent.question();
    let frames = [
        first((1, 1), part),
        wire::notify((3, 1), part),
        next(Flags::FIN, (1, 1), part),
    ];
    probe.send(&frames.concat()).await?;
    let expected = "an ACK, or AGENT-DISCONNECT with status 11";
    match probe.frame(expected).await? {
        (_, Frame::Ack(_)) => Ok(()),
        (_, Frame::AgentDisconnect(bye)) if bye.status == Status::INTERLACED_FRAMES => Ok(()),
        (raw, other) => Err(Stop::failed(expected, told(&raw, &other))),
    }
}
