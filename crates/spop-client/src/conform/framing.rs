//! F1 to F4: where a frame ends, however the stream is cut and whatever its length field says.

use spop_codec::Status;

use super::wire::{self, Hello, SHORT_HEADER, odd_ids};
use super::{Agent, Case, Verdict, must, should};
use crate::hello::MAX_FRAME_SIZE;

pub(super) const CASES: &[Case] = &[
    must(
        "F1.1",
        "a HELLO that comes byte by byte is answered",
        "TCP cuts a stream anywhere",
        |agent| Box::pin(hello_byte_by_byte(agent)),
    ),
    must(
        "F1.2",
        "a NOTIFY that comes byte by byte is answered",
        "TCP cuts a stream anywhere",
        |agent| Box::pin(notify_byte_by_byte(agent)),
    ),
    must(
        "F2.1",
        "NOTIFYs that come together are all answered",
        "TCP joins what was written apart",
        |agent| Box::pin(together(agent)),
    ),
    should(
        "F2.2",
        "a NOTIFY that comes together with the HELLO is answered",
        "TCP joins what was written apart",
        |agent| Box::pin(with_the_hello(agent)),
    ),
    should(
        "F3",
        "a frame longer than HAProxy announced is refused with status 3 before it is there",
        "SPOE.txt 3.2, 3.5",
        |agent| Box::pin(too_long(agent)),
    ),
    should(
        "F4.1",
        "a frame of length 0 is refused with status 4",
        "SPOE.txt 3.2: a header has 7 bytes",
        |agent| Box::pin(bad_frame(agent, &[0, 0, 0, 0])),
    ),
    should(
        "F4.2",
        "a frame of length 6 is refused with status 4",
        "SPOE.txt 3.2: a header has 7 bytes",
        |agent| Box::pin(bad_frame(agent, &[0, 0, 0, 6, 3, 0, 0, 0, 1, 1])),
    ),
    should(
        "F4.3",
        "ids that run over the end of their frame are refused with status 4",
        "SPOE.txt 3.2",
        |agent| Box::pin(bad_frame(agent, &[0, 0, 0, 7, 3, 0, 0, 0, 1, 0xff, 0xff])),
    ),
];

async fn hello_byte_by_byte(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let hello = Hello::new().frame();
    probe.send_slowly(&hello).await?;
    super::agent::judge(&hello, &probe.agent_hello().await?)
}

async fn notify_byte_by_byte(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let notify = wire::notify((1, 1), agent.question());
    probe.send_slowly(&notify).await?;
    probe.ack((1, 1)).await?;
    // Cut in two, in the length field, behind it and in the payload.
    for (stream_id, cut) in [(3, 2), (5, 4), (7, 20)] {
        let notify = wire::notify((stream_id, 1), agent.question());
        let (front, back) = notify.split_at_checked(cut).unwrap_or((&notify, &[]));
        probe.send(front).await?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        probe.send(back).await?;
        probe.ack((stream_id, 1)).await?;
    }
    Ok(())
}

async fn together(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let ids = odd_ids(5);
    probe.send(&wire::notifies(&ids, agent.question())).await?;
    probe.acks(&ids).await.map(drop)
}

async fn with_the_hello(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let notify = wire::notify((1, 1), agent.question());
    probe.send(&[Hello::new().frame(), notify].concat()).await?;
    probe.agent_hello().await?;
    probe.ack((1, 1)).await.map(drop)
}

async fn too_long(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let header = wire::notify((1, 1), &[]);
    let (_, header) = header.split_at(header.len() - SHORT_HEADER);
    let length = (MAX_FRAME_SIZE + 1).to_be_bytes();
    probe.send(&[&length, header].concat()).await?;
    probe.refused(Status::TOO_BIG).await
}

async fn bad_frame(agent: &Agent, bytes: &[u8]) -> Verdict {
    let mut probe = agent.greet().await?;
    probe.send(bytes).await?;
    probe.refused(Status::INVALID_FRAME).await
}
