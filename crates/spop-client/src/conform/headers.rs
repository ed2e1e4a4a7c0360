//! F8 to F13: integers, flags and types in the headers of frames.

use bytes::BufMut;
use spop_codec::{Flags, FrameType, Status, TypedData};

use super::wire::{self, Ids};
use super::{After, Agent, Case, Verdict, must, should};

pub(super) const CASES: &[Case] = &[
    must(
        "F8.1",
        "ids at every length of the variable-length integer come back the same",
        "SPOE.txt 3.1",
        |agent| Box::pin(ids_of_every_length(agent)),
    ),
    must(
        "F8.2",
        "texts whose length takes one, two or three bytes are read",
        "SPOE.txt 3.1",
        |agent| Box::pin(texts_of_every_length(agent)),
    ),
    should(
        "F8.3",
        "an integer of eleven bytes, or above 2^64-1, is refused with status 4",
        "SPOE.txt 3.1; such a length crashed HAProxy before 3.4",
        |agent| Box::pin(endless_integers(agent)),
    ),
    should(
        "F9",
        "an integer that is cut off by the end of its frame is refused with status 4",
        "SPOE.txt 3.2: a frame ends where its length says",
        |agent| Box::pin(integer_cut_off(agent)),
    ),
    should(
        "F10",
        "reserved flags are ignored",
        "SPOE.txt 3.2",
        |agent| Box::pin(flags(agent, Flags(0xffff_fffd))),
    ),
    should(
        "F11",
        "a whole NOTIFY with ABORT set is answered",
        "SPOE.txt 3.2: the flag can be ignored there",
        |agent| Box::pin(flags(agent, Flags(Flags::FIN.0 | Flags::ABORT.0))),
    ),
    should(
        "F12",
        "frames of unknown types are skipped",
        "SPOE.txt 3.2.2",
        |agent| Box::pin(unknown_types(agent)),
    ),
    should(
        "F13",
        "frames that only agents send are refused with status 4",
        "SPOE.txt 3.2.2",
        |agent| Box::pin(agents_own_types(agent)),
    ),
];

async fn ids_of_every_length(agent: &Agent) -> Verdict {
    let ids: [Ids; 12] = [
        (239, 1),
        (240, 1),
        (241, 239),
        (255, 240),
        (256, 255),
        (2287, 256),
        (2288, 2287),
        (16_380, 2288),
        (264_431, 2289),
        (264_432, 264_432),
        (33_818_863, 1),
        (33_818_864, 33_818_864),
    ];
    let mut probe = agent.greet().await?;
    for ids in ids {
        probe.asks(ids, agent.question()).await?;
    }
    Ok(())
}

async fn texts_of_every_length(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    for (stream_id, length) in (1..).zip([0, 1, 239, 240, 241, 255, 256, 2287, 2288, 4096]) {
        let text = "x".repeat(length);
        let args = [
            (&b"text"[..], text.as_str().into()),
            (b"bytes", TypedData::Binary(text.as_bytes())),
        ];
        let payload = wire::message(agent.name(), &args);
        let answer = probe.asks((stream_id, 1), &payload).await;
        answer.after(format_args!("texts of {length} bytes"))?;
    }
    Ok(())
}

async fn endless_integers(agent: &Agent) -> Verdict {
    let two_to_the_64 = [0xf0, 0xf1, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e];
    let eleven = [0xff; 11];
    for (what, id) in [("2^64", &two_to_the_64[..]), ("eleven bytes", &eleven)] {
        let mut header = vec![FrameType::NOTIFY.0];
        header.put_u32(Flags::FIN.0);
        header.put_slice(id);
        header.put_slice(&[0, 1]);
        let mut probe = agent.greet().await?;
        probe.send(&wire::body(&header)).await?;
        probe.refused(Status::INVALID_FRAME).await.after(what)?;
    }
    Ok(())
}

async fn integer_cut_off(agent: &Agent) -> Verdict {
    let mut payload = wire::message(agent.name(), &[(b"number", TypedData::Int64(2288))]);
    payload.pop();
    let mut probe = agent.greet().await?;
    // What follows would complete the integer, if the frame did not end before.
    let next = wire::notify((3, 1), agent.question());
    let both = [wire::notify((1, 1), &payload), next].concat();
    probe.send(&both).await?;
    probe.refused(Status::INVALID_FRAME).await
}

async fn flags(agent: &Agent, flags: Flags) -> Verdict {
    let mut probe = agent.greet().await?;
    let notify = wire::frame(FrameType::NOTIFY, flags, (1, 1), agent.question());
    probe.send(&notify).await?;
    probe.ack((1, 1)).await?;
    probe.asks((3, 1), agent.question()).await.map(drop)
}

async fn unknown_types(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let unknown = [4, 50, 104, 255].map(|frame_type| {
        let payload = b"\x01nothing that anybody knows";
        wire::frame(FrameType(frame_type), Flags::FIN, (1, 1), payload)
    });
    let notify = wire::notify((1, 1), agent.question());
    probe.send(&[unknown.concat(), notify].concat()).await?;
    probe.ack((1, 1)).await.map(drop)
}

async fn agents_own_types(agent: &Agent) -> Verdict {
    for frame_type in [
        FrameType::AGENT_HELLO,
        FrameType::AGENT_DISCONNECT,
        FrameType::ACK,
    ] {
        let mut probe = agent.greet().await?;
        let frame = wire::frame(frame_type, Flags::FIN, (0, 0), &[]);
        probe.send(&frame).await?;
        let refused = probe.refused(Status::INVALID_FRAME).await;
        refused.after(frame_type)?;
    }
    Ok(())
}
