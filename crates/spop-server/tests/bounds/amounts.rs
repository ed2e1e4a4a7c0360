//! How many: NOTIFYs in flight, answers that wait, frames that mean nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use spop_client::ClientError;
use spop_client::spop_codec::{Flags, FrameDecoder, FrameType, Status};
use spop_server::{AgentConfig, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::{notify, only, telling};
use crate::{Agent, frame, hello, settle};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_of_a_connection_reading_pauses_for_as_long_as_it_takes() {
    let limits = AgentConfig::new()
        .with_max_in_flight(20)
        .with_idle_timeout(24 * HOUR);
    let config = telling().with_agent(limits).with_handler_timeout(HOUR);
    let agent = Agent::start(config);
    let mut client = agent.client(hello()).await;
    let begin = Instant::now();
    let mut wire = BytesMut::new();
    for stream_id in 0..50 {
        notify(stream_id, "never").encode(&mut wire);
    }
    // All of one length. A half waits as well, and is not late.
    let one = wire.len() / 50;
    client.send_raw(&wire.split_to(19 * one)).await.unwrap();
    settle().await;
    assert_eq!((agent.told().received, agent.told().paused), (19, 0));
    client.send_raw(&wire.split_to(30 * one + 5)).await.unwrap();
    settle().await;
    assert_eq!((agent.told().received, agent.told().paused), (20, 1));

    for mut round in [0..20, 20..40, 40..50].map(BTreeSet::from_iter) {
        while !round.is_empty() {
            let ack = client.recv_ack().await.unwrap();
            assert!(round.remove(&ack.stream_id()), "{ack:?}");
            assert_eq!(only(&ack), "sess.failure=deadline");
        }
        client.send_raw(&wire.split()).await.unwrap();
    }
    assert_eq!(begin.elapsed(), 3 * HOUR);
    assert_eq!(agent.told().received, 50);
    assert!(agent.told().ends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_of_the_process_no_handler_waits() {
    let config = telling().with_max_in_flight(20).with_handler_timeout(HOUR);
    let agent = Agent::start(config);
    let mut one = agent.client(hello()).await;
    let mut two = agent.client(hello()).await;
    for stream_id in 0..15 {
        one.queue(&notify(stream_id, "never")).unwrap();
        two.queue(&notify(stream_id, "never")).unwrap();
    }
    one.flush().await.unwrap();
    settle().await;
    let asked = Instant::now();
    two.flush().await.unwrap();
    for stream_id in 5..15 {
        let ack = two.recv_ack().await.unwrap();
        assert_eq!(ack.stream_id(), stream_id);
        assert_eq!(only(&ack), "sess.failure=overload");
    }
    // What need not wait is answered as ever.
    two.send(&notify(99, "ready")).await.unwrap();
    assert_eq!(only(&two.recv_ack().await.unwrap()), "sess.how=ready");
    two.send(&notify(99, "yield")).await.unwrap();
    let ack = two.recv_ack().await.unwrap();
    assert_eq!(only(&ack), "sess.failure=overload");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(agent.told().failures, [("overload", 11)].into());

    // With a connection its handlers are gone.
    drop(one);
    settle().await;
    two.send(&notify(99, "yield")).await.unwrap();
    assert_eq!(only(&two.recv_ack().await.unwrap()), "sess.how=yield");
    assert_eq!(agent.told().failures, [("overload", 11)].into());
}

#[tokio::test(start_paused = true)]
async fn at_64_kib_of_answers_that_nobody_takes_reading_pauses() {
    const PIPE: usize = 32 * 1024;
    const ASKED: usize = 20_000;
    // Of those that HAProxy has given up on.
    const LATE: usize = 256 * 1024;
    let agent = Agent::start(Config::new());
    let mut client = agent.client(hello()).await;
    let mut answer = BytesMut::new();
    client.send(&notify(1, "ready")).await.unwrap();
    client.recv_ack().await.unwrap().encode(&mut answer);
    drop(client);
    settle().await;
    let before = agent.told();

    let (mut input, mut output) = tokio::io::split(agent.pipe(PIPE));
    let mut wire = BytesMut::new();
    hello().encode(&mut wire);
    for _ in 0..ASKED {
        notify(1, "ready").encode(&mut wire);
    }
    let writing = tokio::spawn(async move {
        output.write_all(&wire).await.unwrap();
        output
    });
    settle().await;
    assert!(!writing.is_finished());
    assert_eq!(agent.told().written - before.written, PIPE);
    assert_eq!(agent.told().paused, 1);
    let answers = (agent.told().received - before.received) * answer.len();
    // The HELLO takes some of the pipe.
    let waiting = answers - PIPE - LATE;
    assert!((60 << 10..64 << 10).contains(&waiting), "{waiting}");

    // All of it comes as soon as it is taken.
    let mut decoder = FrameDecoder::new(16_380);
    let mut bytes = BytesMut::new();
    let mut frames = 0;
    while frames < 1 + ASKED {
        assert_ne!(input.read_buf(&mut bytes).await.unwrap(), 0);
        while decoder.next(&mut bytes).unwrap().is_some() {
            frames += 1;
        }
    }
    let _output = writing.await.unwrap();
    assert_eq!(agent.told().largest_write, 8192);
    assert_eq!(agent.told().ends, ["eof"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_frames_of_unknown_types_are_skipped_and_no_more() {
    let agent = Agent::start(telling());
    let mut client = agent.client(hello()).await;
    let unknown = frame(FrameType(77), Flags::FIN, b"from the future");
    client.send_raw(&unknown.repeat(1000)).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    client.send_raw(&unknown).await.unwrap();
    match client.recv().await {
        Err(ClientError::Disconnected(bye)) => assert_eq!(bye.status, Status::RESOURCE),
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.told().ends, ["violation"]);
}
