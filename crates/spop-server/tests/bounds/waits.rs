//! How long: each wait ends when it is due and not before, whatever drips in meanwhile.

use std::time::Duration;

use bytes::BytesMut;
use spop_client::spop_codec::{Flags, FrameType, Status};
use spop_client::{Client, ClientError};
use spop_server::{AgentConfig, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, split};
use tokio::time::{Instant, sleep};

use crate::support::{notify, only, slow, telling};
use crate::{Agent, frame, hello, settle};

const SECOND: Duration = Duration::from_secs(1);

/// Writes one piece a second, the first at once, for as long as there is somebody.
async fn drip<'a>(mut io: WriteHalf<DuplexStream>, pieces: impl Iterator<Item = &'a [u8]>) {
    for piece in pieces {
        if io.write_all(piece).await.is_err() {
            return;
        }
        sleep(SECOND).await;
    }
    sleep(100 * SECOND).await;
}

/// What the agent said until it closed, and when that was.
async fn speak<'a>(
    io: DuplexStream,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    let (mut input, output) = split(io);
    let mut said = Vec::new();
    tokio::select! {
        read = input.read_to_end(&mut said) => drop(read.unwrap()),
        () = drip(output, pieces) => panic!("the agent waits on"),
    }
    (said, begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_hello_has_its_time_from_the_first_moment() {
    let agent = Agent::start(Config::new());
    let mut wire = BytesMut::new();
    hello().encode(&mut wire);
    let unknown = frame(FrameType(77), Flags::FIN, b"");
    let silent = speak(agent.pipe(64), [].into_iter()).await;
    let dripping = speak(agent.pipe(64), wire.chunks(1)).await;
    let chatty = speak(agent.pipe(64), unknown.chunks(11).cycle()).await;
    for (said, after) in [silent, dripping, chatty] {
        assert!(said.is_empty());
        assert_eq!(after, 5 * SECOND);
    }
    assert_eq!(agent.told().ends, ["hello-timeout"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_frame_has_its_time_from_its_first_byte() {
    let settings = AgentConfig::new().with_fragmentation(10_000);
    let agent = Agent::start(Config::new().with_agent(settings));
    let mut dripping = BytesMut::new();
    notify(1, "ready").encode(&mut dripping);
    let mut fragments = frame(FrameType::NOTIFY, Flags(0), b"x");
    for _ in 0..100 {
        fragments.unsplit(frame(FrameType::UNSET, Flags(0), b"x"));
    }
    for (wire, size) in [(dripping, 1), (fragments, 12)] {
        let client = agent.client(hello()).await;
        // Silence before it does not count.
        sleep(60 * SECOND).await;
        let begin = Instant::now();
        let (mut input, output) = split(client.into_connection().into_inner());
        let mut goodbye = BytesMut::new();
        tokio::select! {
            read = input.read_buf(&mut goodbye) => assert_ne!(read.unwrap(), 0),
            () = drip(output, wire.chunks(size)) => panic!("the agent waits on"),
        }
        assert_eq!(begin.elapsed(), 5 * SECOND);
        assert_eq!(goodbye[4], FrameType::AGENT_DISCONNECT.0);
    }
    assert_eq!(agent.told().ends, ["frame-timeout"; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_its_time_from_its_last_frame() {
    let agent = Agent::start(Config::new());
    let mut client = agent.client(hello()).await;
    sleep(599 * SECOND).await;
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    let begin = Instant::now();
    match client.recv().await {
        Err(ClientError::Disconnected(bye)) => assert_eq!(bye.status, Status::TIMEOUT),
        other => panic!("{other:?}"),
    }
    assert_eq!(begin.elapsed(), 600 * SECOND);
    assert_eq!(agent.told().ends, ["idle-timeout"]);
}

/// Before the silence the timer was set, for something that came in time.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_no_more_time_than_that_if_other_waits_are_longer() {
    let settings = AgentConfig::new()
        .with_idle_timeout(10 * SECOND)
        .with_hello_timeout(60 * SECOND)
        .with_frame_timeout(60 * SECOND);
    let config = Config::new()
        .with_agent(settings)
        .with_handler_timeout(60 * SECOND);
    let agent = Agent::start(config);
    let mut wire = BytesMut::new();
    notify(1, "yield").encode(&mut wire);
    let half = wire.split_to(7);
    for asks in [false, true] {
        let pipe = agent.pipe(1024);
        sleep(SECOND).await;
        let mut client = Client::handshake(pipe, hello()).await.unwrap();
        client.set_timeout(None);
        if asks {
            client.send_raw(&half).await.unwrap();
            sleep(20 * SECOND).await;
            client.send_raw(&wire).await.unwrap();
            client.recv_ack().await.unwrap();
        }
        let begin = Instant::now();
        client.recv().await.unwrap_err();
        assert_eq!(begin.elapsed(), 10 * SECOND, "asks: {asks}");
    }
    assert_eq!(agent.told().ends, ["idle-timeout"; 2]);
}

#[tokio::test(start_paused = true)]
async fn answers_have_their_time_from_the_last_byte_taken() {
    let agent = Agent::start(Config::new());
    let mut io = agent.pipe(64);
    let mut wire = BytesMut::new();
    hello().encode(&mut wire);
    for _ in 0..10 {
        notify(1, "ready").encode(&mut wire);
    }
    io.write_all(&wire).await.unwrap();
    // A byte is little, but it is not nothing.
    for _ in 0..20 {
        sleep(Duration::from_millis(4_990)).await;
        io.read_u8().await.unwrap();
    }
    settle().await;
    sleep(Duration::from_millis(4_997)).await;
    assert!(agent.told().ends.is_empty());
    sleep(Duration::from_millis(3)).await;
    assert_eq!(agent.told().ends, ["write-timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_its_time_from_the_read_of_its_own_notify() {
    let agent = Agent::start(telling());
    let mut client = agent.client(hello()).await;
    let begin = Instant::now();
    client.send(&notify(1, "never")).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    client.send(&notify(2, "never")).await.unwrap();
    for (stream_id, millis) in [(1, 1000), (2, 1300)] {
        let ack = client.recv_ack().await.unwrap();
        assert_eq!(ack.stream_id(), stream_id);
        assert_eq!(only(&ack), "sess.failure=deadline");
        assert_eq!(begin.elapsed(), Duration::from_millis(millis));
    }
    assert_eq!(agent.told().slowest, SECOND);
    assert_eq!(agent.told().failures, [("deadline", 2)].into());
}

/// Longer than any wait that is counted, and not too long for the test's own timers.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::test(start_paused = true)]
async fn what_may_take_for_ever_does_not_end() {
    let never = Duration::MAX;
    let settings = AgentConfig::new()
        .with_hello_timeout(never)
        .with_frame_timeout(never)
        .with_idle_timeout(never);
    let config = telling()
        .with_agent(settings)
        .with_handler_timeout(never)
        .with_write_timeout(never)
        .with_keepalive(Some(never))
        .with_max_connection_age(Some(never));
    let agent = Agent::start(config);
    let pipe = agent.pipe(64);
    sleep(YEAR).await; // the HELLO
    let mut client = Client::handshake(pipe, hello()).await.unwrap();
    client.set_timeout(None);
    sleep(YEAR).await; // silence
    for name in ["ready", "yield"] {
        let mut wire = BytesMut::new();
        notify(1, name).encode(&mut wire);
        client.send_raw(&wire.split_to(7)).await.unwrap();
        sleep(YEAR).await; // a frame
        client.send_raw(&wire).await.unwrap();
        let ack = client.recv_ack().await.unwrap();
        assert_eq!(only(&ack), format!("sess.how={name}"));
    }
    let millis = u64::try_from(YEAR.as_millis()).unwrap();
    client.send(&slow(1, millis)).await.unwrap();
    let ack = client.recv_ack().await.unwrap();
    assert_eq!(only(&ack), "sess.how=slow");
    for stream_id in 1..=10 {
        client.send(&notify(stream_id, "ready")).await.unwrap();
    }
    sleep(YEAR).await; // answers that nobody takes
    for stream_id in 1..=10 {
        assert_eq!(client.recv_ack().await.unwrap().stream_id(), stream_id);
    }
    assert!(agent.told().ends.is_empty());
}
