//! X1 to X8: peers that HAProxy is not. The agent need not serve them, but the others.

use bytes::BufMut;
use spop_codec::{Flags, FrameType, Status, varint};

use super::fragmentation::{first, greet_fragmenting};
use super::hello::served;
use super::wire::{self, Hello, SHORT_HEADER};
use super::{After, Agent, Case, Stop, Verdict, must, should, slow};
use crate::hello::MAX_FRAME_SIZE;

pub(super) const CASES: &[Case] = &[
    should(
        "X1",
        "a text that is longer than its frame, up to 2^64-1, is refused with status 4",
        "SPOE.txt 3.1, 3.5; such a length crashed HAProxy before 3.4",
        |agent| Box::pin(long_texts(agent)),
    ),
    should(
        "X2",
        "a frame of 4 GiB is refused before it is there",
        "SPOE.txt 3.2, 3.5",
        |agent| Box::pin(four_gigabytes(agent)),
    ),
    slow(should(
        "X3",
        "a frame that never ends is given up in the end",
        "nobody else gives it up",
        |agent| Box::pin(frame_without_end(agent)),
    )),
    should(
        "X4",
        "10000 frames of unknown types are skipped, or refused with a status",
        "SPOE.txt 3.2.2",
        |agent| Box::pin(unknown_flood(agent)),
    ),
    should(
        "X5",
        "a NOTIFY of thousands of messages is answered, or refused with a status",
        "SPOE.txt 3.2 sets no limit",
        |agent| Box::pin(thousands_of_messages(agent)),
    ),
    should(
        "X6",
        "fragments of a thousand NOTIFYs at once are refused with a status",
        "SPOE.txt 3.2, 3.5: one at a time",
        |agent| Box::pin(fragment_flood(agent)),
    ),
    must(
        "X7.1",
        "frames with flipped bits end their own connection at most",
        "anybody who reaches the port can send them",
        |agent| Box::pin(flipped_bits(agent)),
    ),
    should(
        "X7.2",
        "an HTTP request ends its own connection",
        "a wrong port in somebody's configuration",
        |agent| Box::pin(http(agent)),
    ),
    must(
        "X8",
        "500 connections that are opened and reset do no harm",
        "HAProxy up to 3.0 makes them when a handshake keeps failing",
        |agent| Box::pin(connection_flood(agent)),
    ),
];

async fn long_texts(agent: &Agent) -> Verdict {
    for length in [5, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        // In the place of a message's name, and of an argument's value.
        let mut name = Vec::new();
        varint::encode(length, &mut name);
        name.put_slice(b"name");
        let mut value = wire::message(agent.name(), &[(b"text", "".into())]);
        value.pop();
        varint::encode(length, &mut value);
        value.put_slice(b"text");
        for payload in [name, value] {
            let mut probe = agent.greet().await?;
            probe.send(&wire::notify((1, 1), &payload)).await?;
            let refused = probe.refused(Status::INVALID_FRAME).await;
            refused.after(format_args!("length {length}"))?;
        }
    }
    Ok(())
}

async fn four_gigabytes(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let hello = Hello::new().frame();
    let (_, beginning) = hello.split_at(4);
    probe.send(&[&[0xff; 4], beginning].concat()).await?;
    probe.refused(Status::TOO_BIG).await
}

async fn frame_without_end(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let notify = wire::notify((1, 1), agent.question());
    let header = notify.get(..4 + SHORT_HEADER).unwrap_or(&notify);
    probe.send(header).await?;
    let patience = agent.patience().unwrap_or_default();
    probe.ended(patience, "the agent to give up").await
}

async fn unknown_flood(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let unknown = wire::frame(FrameType(50), Flags::FIN, (1, 1), &[]);
    for _ in 0..10 {
        probe.send(&unknown.repeat(1000)).await?;
    }
    probe.send(&wire::notify((1, 1), agent.question())).await?;
    probe.ack_or_goodbye((1, 1)).await
}

async fn thousands_of_messages(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let message = wire::message(b"m", &[]);
    let room = MAX_FRAME_SIZE as usize - SHORT_HEADER;
    let payload = message.repeat(room / message.len());
    probe.send(&wire::notify((1, 1), &payload)).await?;
    probe.ack_or_goodbye((1, 1)).await
}

async fn fragment_flood(agent: &Agent) -> Verdict {
    let mut probe = greet_fragmenting(agent).await?;
    let part = [0; 1000];
    let flood = (1..=1000).flat_map(|stream_id| first((stream_id, 1), &part));
    probe.send(&flood.collect::<Vec<_>>()).await?;
    let bye = probe.goodbye().await?;
    if bye.status == Status::NORMAL {
        return Err(Stop::failed("a status that says why", bye.status));
    }
    Ok(())
}

async fn flipped_bits(agent: &Agent) -> Verdict {
    let mut other = agent.greet().await?;
    let frames = [
        Hello::new().frame(),
        Hello::old().frame(),
        Hello::health_check().frame(),
        wire::notify((1, 1), agent.question()),
        wire::notify((1, 1), &[]),
        wire::disconnect(0),
    ];
    let mut random = Random(1);
    for round in 0..30 {
        for frame in &frames {
            let mut probe = if frame.get(4) == Some(&FrameType::HAPROXY_HELLO.0) {
                agent.connect().await?
            } else {
                agent.greet().await?
            };
            let mut frame = frame.clone();
            for _ in 0..=round % 4 {
                random.flip(&mut frame);
            }
            probe.send(&frame).await?;
            probe.finish(agent.timeout()).await?;
        }
    }
    other.asks((1, 1), agent.question()).await.map(drop)
}

async fn http(agent: &Agent) -> Verdict {
    let mut other = agent.greet().await?;
    let mut probe = agent.connect().await?;
    let request = b"GET / HTTP/1.1\r\nHost: agent.example\r\nConnection: close\r\n\r\n";
    probe.send(request).await?;
    let expected = "the agent to close the connection";
    probe.ended(agent.timeout(), expected).await?;
    other.asks((1, 1), agent.question()).await.map(drop)
}

async fn connection_flood(agent: &Agent) -> Verdict {
    let mut other = agent.greet().await?;
    for _ in 0..500 {
        agent.connect().await?.reset();
    }
    other.asks((1, 1), agent.question()).await?;
    served(agent, Hello::new()).await
}

/// The same numbers in each run, so that a failure can be had again (splitmix64).
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let random = self.next();
        let index = random % bytes.len().max(1) as u64;
        let byte = usize::try_from(index)
            .ok()
            .and_then(|index| bytes.get_mut(index));
        if let Some(byte) = byte {
            *byte ^= 1 << (random >> 61);
        }
    }
}
