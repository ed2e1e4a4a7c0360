//! What reaches the socket in one write, and what a slow or hostile peer can hold up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use spop_client::spop_codec::{Frame, FrameDecoder, HaproxyHello, Notify, NotifyBuilder, Status};
use spop_client::{Client, ClientError, Connection, health_check};
use spop_server::{Config, Peer, serve_connection};
use support::recorder::{Recorder, Writes};
use support::{answer, connect, notify, obedient};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

fn recorded() -> (DuplexStream, Writes) {
    let (haproxy, io) = duplex(1 << 20);
    let (agent, writes) = Recorder::new(io);
    tokio::spawn(serve_connection(
        agent,
        Peer::Local,
        obedient(),
        Config::new(),
    ));
    (haproxy, writes)
}

/// The frames of one write.
fn frames(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((length, rest)) = bytes.split_first_chunk() {
        bytes = &rest[u32::from_be_bytes(*length) as usize..];
        count += 1;
    }
    count
}

#[tokio::test]
async fn the_hello_leaves_in_one_write_and_a_batch_of_answers_in_another() {
    let (haproxy, writes) = recorded();
    let hello = HaproxyHello::new(16_380, "engine");
    let mut client = Client::handshake(haproxy, hello).await.unwrap();
    for stream_id in 0..20 {
        client.queue(&notify(stream_id, "ready")).unwrap();
    }
    client.flush().await.unwrap();
    for _ in 0..20 {
        client.recv_ack().await.unwrap();
    }
    let writes: Vec<_> = writes
        .lock()
        .unwrap()
        .iter()
        .map(|bytes| frames(bytes))
        .collect();
    assert_eq!(writes, [1, 20]);
}

#[tokio::test]
async fn a_health_check_gets_one_frame_and_the_end() {
    let (haproxy, writes) = recorded();
    let pong = health_check(Connection::new(haproxy)).await.unwrap();
    assert!(pong.closed);
    let writes = writes.lock().unwrap();
    assert_eq!(writes.len(), 1);
    let mut wire = writes[0].as_slice().into();
    let raw = FrameDecoder::new(16_380).next(&mut wire).unwrap().unwrap();
    assert!(wire.is_empty());
    assert!(matches!(Frame::decode(raw), Ok(Frame::AgentHello(_))));
}

#[tokio::test]
async fn no_write_carries_more_than_8_kib() {
    let (haproxy, writes) = recorded();
    let mut client = Client::handshake(haproxy, HaproxyHello::new(16_380, "engine"))
        .await
        .unwrap();
    for stream_id in 0..20 {
        client.queue(&echo(stream_id, 700)).unwrap();
    }
    client.flush().await.unwrap();
    for _ in 0..20 {
        client.recv_ack().await.unwrap();
    }
    let sizes: Vec<_> = writes.lock().unwrap().iter().map(Vec::len).collect();
    assert!(sizes.iter().any(|size| *size > 4096), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 8192), "{sizes:?}");
}

/// As after a pause of the agent or the network: HAProxy has given up on all but the newest.
#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_follows_little_by_little() {
    type Ask = fn(u64) -> Notify;
    const LATER: u64 = 5000;
    let kinds: [(u64, Ask); 4] = [
        (1000, |id| notify(id, "ready")),
        (1000, |id| notify(id, "yield")),
        (1000, |id| notify(id, "slow")),
        // As many as may wait.
        (300, |id| echo(id, 700)),
    ];
    for (kind, (count, ask)) in kinds.into_iter().enumerate() {
        let (haproxy, writes) = recorded();
        let mut client = Client::handshake(haproxy, HaproxyHello::new(16_380, "engine"))
            .await
            .unwrap();
        for stream_id in 0..count {
            client.queue(&ask(stream_id)).unwrap();
        }
        let begin = Instant::now();
        client.flush().await.unwrap();
        let mut answered = Vec::new();
        for received in 0..=count {
            if received == count / 2 {
                client.send(&ask(LATER)).await.unwrap();
            }
            answered.push(client.recv_ack().await.unwrap().stream_id());
        }
        let took = begin.elapsed();

        let order = &answered;
        let among_the_first = |id, share: u64| {
            let first = order.iter().zip(0..count * share / 100);
            first.into_iter().any(|(&other, _)| other == id)
        };
        // Those that HAProxy waits for overtake the others. Handlers that wait and are done
        // together are not told apart.
        if kind == 0 {
            assert!(
                (count - 20..count).all(|id| among_the_first(id, 50)),
                "{order:?}"
            );
        }
        assert!(among_the_first(LATER, 60), "{kind}: {order:?}");
        answered.sort_unstable();
        assert!(answered.into_iter().eq((0..count).chain([LATER])), "{kind}");

        let sizes: Vec<_> = writes.lock().unwrap().iter().map(Vec::len).collect();
        let written: usize = sizes.iter().sum();
        // What leaves at once: the newest, what is read before it is known that there is more, a
        // portion of the others.
        let at_once = written / 5;
        let pauses = u32::try_from((written - at_once) / 2048).unwrap();
        let least = Duration::from_millis(4) * pauses;
        assert!(
            took >= least,
            "{kind}: {took:?}, not {least:?}, for {sizes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_haproxy_waits_for_is_answered_at_once() {
    let (haproxy, _) = recorded();
    let mut client = Client::handshake(haproxy, HaproxyHello::new(16_380, "engine"))
        .await
        .unwrap();
    let begin = Instant::now();
    for _ in 0..1000 {
        for stream_id in 0..20 {
            client.queue(&notify(stream_id, "ready")).unwrap();
        }
        client.flush().await.unwrap();
        for _ in 0..20 {
            client.recv_ack().await.unwrap();
        }
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

/// Answered with so many bytes of text, and some more.
fn echo(stream_id: u64, bytes: usize) -> Notify {
    let text = "x".repeat(bytes);
    NotifyBuilder::new()
        .message("echo", [("text", text.as_str().into())])
        .unwrap()
        .build(stream_id, 1)
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let (haproxy, _) = recorded();
    let mut connection = Connection::new(haproxy);
    let mut wire = bytes::BytesMut::new();
    HaproxyHello::new(16_380, "engine").encode(&mut wire);
    notify(7, "ready").encode(&mut wire);
    for byte in wire {
        connection.send_raw(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(connection.recv().await, Ok(Frame::AgentHello(_))));
    assert!(matches!(connection.recv().await, Ok(Frame::Ack(ack)) if ack.stream_id() == 7));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_dropped() {
    let (haproxy, agent) = duplex(256);
    let config = Config::new().with_write_timeout(Duration::from_secs(3));
    let served = tokio::spawn(serve_connection(agent, Peer::Local, obedient(), config));
    let mut client = Client::handshake(haproxy, HaproxyHello::new(16_380, "engine"))
        .await
        .unwrap();
    client.set_timeout(Some(Duration::from_secs(1)));
    let mut sent = 0;
    while client.send(&notify(sent, "ready")).await.is_ok() {
        sent += 1;
    }
    // The agent stopped reading long before its answers took much memory.
    assert!(sent < 5000, "{sent}");
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_dropped() {
    let (haproxy, agent) = duplex(256);
    let mut connection = Connection::new(haproxy).with_timeout(Some(Duration::from_secs(30)));
    let served = tokio::spawn(serve_connection(
        agent,
        Peer::Local,
        obedient(),
        Config::new(),
    ));
    assert!(matches!(connection.recv().await, Err(ClientError::Closed)));
    served.await.unwrap();
}

#[tokio::test]
async fn junk_ends_its_own_connection_with_a_status() {
    let mut bystander = connect(obedient(), Config::new()).await;
    let cases: [(&[u8], Status); 4] = [
        (b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n", Status::TOO_BIG),
        (&[0, 0, 0, 0], Status::INVALID_FRAME),
        (&[0, 0, 0, 7, 3, 0, 0, 0, 1, 1, 1], Status::INVALID_FRAME),
        (
            &[0, 0, 0, 7, 1, 0, 0, 0, 0, 0, 0],
            Status::FRAGMENTATION_NOT_SUPPORTED,
        ),
    ];
    for (junk, status) in cases {
        let (haproxy, agent) = duplex(1 << 16);
        tokio::spawn(serve_connection(
            agent,
            Peer::Local,
            obedient(),
            Config::new(),
        ));
        let mut connection = Connection::new(haproxy);
        connection.send_raw(junk).await.unwrap();
        match connection.recv().await {
            Ok(Frame::AgentDisconnect(bye)) => assert_eq!(bye.status, status),
            other => panic!("{other:?}"),
        }
        connection.closed().await.unwrap();
    }
    let ack = bystander.notify("ready", []).await.unwrap();
    assert!(ack.actions().eq(answer("ready").iter()));
}
