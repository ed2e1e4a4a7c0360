//! How big: frames before and after the handshake, NOTIFYs in fragments, ACKs.

use bytes::BytesMut;
use spop_client::spop_codec::{
    Capabilities, Flags, Frame, FrameType, HaproxyHello, NotifyBuilder, Status, TypedData,
};
use spop_client::{Client, ClientError, Connection};
use spop_server::{AgentConfig, Config};
use tokio::io::DuplexStream;

use crate::support::{notify, only, telling};
use crate::{Agent, frame, hello, settle};

#[tokio::test(start_paused = true)]
async fn before_the_handshake_16380_bytes() {
    let agent = Agent::start(Config::new());
    let mut fits = Connection::new(agent.pipe(64));
    fits.send_raw(&16_380_u32.to_be_bytes()).await.unwrap();
    settle().await;
    assert!(agent.told().ends.is_empty());

    let mut too_big = Connection::new(agent.pipe(64));
    too_big.send_raw(&16_381_u32.to_be_bytes()).await.unwrap();
    // The length is enough to know.
    match too_big.recv().await.unwrap() {
        Frame::AgentDisconnect(bye) => assert_eq!(bye.status, Status::TOO_BIG),
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.told().ends, ["violation"]);
}

/// A NOTIFY whose length field says `length`.
fn padded(length: usize) -> BytesMut {
    let with = |bytes: usize| {
        let filling = "x".repeat(bytes);
        let args = [("filling", TypedData::from(filling.as_str()))];
        let mut wire = BytesMut::new();
        let notify = NotifyBuilder::new().message("ready", args).unwrap();
        notify.build(1, 1).encode(&mut wire);
        wire
    };
    let guess = length - 100;
    with(guess + length + 4 - with(guess).len())
}

#[tokio::test(start_paused = true)]
async fn after_it_what_haproxy_announced_within_64_kib_or_the_setting() {
    const MIB: u32 = 1 << 20;
    let default = AgentConfig::new();
    let generous = AgentConfig::new().with_max_frame_size(MIB);
    let cases = [
        (4_000, &default, 4_000),
        (20_000, &default, 20_000),
        (MIB, &default, 1 << 16),
        (2 * MIB, &generous, MIB),
    ];
    for (announced, settings, largest) in cases {
        let agent = Agent::start(telling().with_agent(settings.clone()));
        let hello = HaproxyHello::new(announced, "bounds");
        let mut client = agent.client(hello).await;
        let fits = padded(largest as usize);
        assert_eq!(fits[..4], largest.to_be_bytes());
        client.send_raw(&fits).await.unwrap();
        assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=ready");

        let length = (largest + 1).to_be_bytes();
        client.send_raw(&length).await.unwrap();
        assert_eq!(goodbye(&mut client).await, Status::TOO_BIG);
        assert_eq!(agent.told().ends, ["violation"]);
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_up_to_the_limit_and_one_ack_with_abort_beyond() {
    let settings = AgentConfig::new().with_fragmentation(10_000);
    let agent = Agent::start(telling().with_agent(settings));
    let mut client = agent.client(hello()).await;
    let whole = padded(7 + 10_000);
    let payload = &whole[whole.len() - 10_000..];
    let (first, rest) = payload.split_at(6_000);
    let begin = frame(FrameType::NOTIFY, Flags(0), first);
    let end = frame(FrameType::UNSET, Flags::FIN, rest);

    for flood in 1..=3 {
        client.send_raw(&begin).await.unwrap();
        client.send_raw(&end).await.unwrap();
        assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=ready");

        client.send_raw(&begin).await.unwrap();
        let more = frame(FrameType::UNSET, Flags(0), &[0; 4_001]);
        client.send_raw(&more).await.unwrap();
        let ack = client.recv_ack().await.unwrap();
        assert!(ack.is_aborted());
        assert_eq!((ack.stream_id(), ack.frame_id()), (1, 1));
        // For the rest of it there is no other, however much it is.
        for _ in 0..100 {
            client.send_raw(&more).await.unwrap();
        }
        client.send(&notify(7, "ready")).await.unwrap();
        assert_eq!(client.recv_ack().await.unwrap().stream_id(), 7);
        assert_eq!(agent.told().too_big, flood);
    }
    assert!(agent.told().ends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn acks_as_big_as_set_or_with_one_at_a_time_as_agreed() {
    let mut one_at_a_time = hello();
    one_at_a_time.capabilities = Capabilities::NONE;
    let small = AgentConfig::new().with_max_ack_size(200);
    let cases = [
        (hello(), AgentConfig::new(), 800),
        (hello(), small, 200),
        // The length field of 4 bytes does not count; one byte less is what HAProxy takes.
        (one_at_a_time, AgentConfig::new(), 4 + 16_380 - 1),
    ];
    for (hello, settings, largest) in cases {
        let agent = Agent::start(telling().with_agent(settings));
        let mut client = agent.client(hello).await;
        let mut bytes = largest - 100;
        let (size, _) = sized(&mut client, bytes).await;
        bytes += largest - size;
        let (size, _) = sized(&mut client, bytes).await;
        assert_eq!(size, largest);
        let (_, answer) = sized(&mut client, bytes + 1).await;
        assert_eq!(answer, "sess.failure=ack-too-big");
        assert_eq!(agent.told().failures, [("ack-too-big", 1)].into());
    }
}

/// Asks for a variable of so many bytes: the size of the ACK, and what it says.
async fn sized(client: &mut Client<DuplexStream>, bytes: usize) -> (usize, String) {
    let args = [("bytes", TypedData::Uint64(bytes as u64))];
    let ack = client.notify("sized", args).await.unwrap();
    let mut wire = BytesMut::new();
    ack.encode(&mut wire);
    (wire.len(), only(&ack))
}

async fn goodbye(client: &mut Client<DuplexStream>) -> Status {
    match client.recv().await {
        Err(ClientError::Disconnected(bye)) => bye.status,
        other => panic!("{other:?}"),
    }
}
