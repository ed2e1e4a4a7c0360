//! Against agents that do wrong: each fault is counted, and the exit status is 1.

use std::net::SocketAddr;

use bytes::BytesMut;
use serde_json::{Value, json};
use spop_client::haproxy_hello;
use spop_codec::{Ack, Actions, AgentHello, Capabilities, Disconnect, Frame, FrameDecoder, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{BRIEF, PATIENT, SHORT, adds_up, bench, count};

/// What an agent sends for NOTIFY number `n` (from 0) of a connection with ids `stream_id` and
/// `frame_id`; `None` closes the connection without a word.
type Answer = fn(n: u64, stream_id: u64, frame_id: u64) -> Option<Vec<Frame>>;

/// An agent on a free port that shakes hands and ends as it should.
async fn faulty(capabilities: Capabilities, answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(serve(io, capabilities, answer));
        }
    });
    addr
}

async fn serve(mut io: TcpStream, capabilities: Capabilities, answer: Answer) {
    let mut decoder = FrameDecoder::new(16_380);
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut notifies = 0;
    loop {
        while let Some(raw) = decoder.next(&mut input).unwrap() {
            let frames = match Frame::decode(raw).unwrap() {
                Frame::HaproxyHello(hello) => {
                    let agreed = hello.negotiate(16_380, capabilities).unwrap();
                    vec![Frame::AgentHello(AgentHello::new(&agreed))]
                }
                Frame::Notify(notify) => {
                    notifies += 1;
                    match answer(notifies - 1, notify.stream_id(), notify.frame_id()) {
                        Some(frames) => frames,
                        None => return,
                    }
                }
                _ => vec![Frame::AgentDisconnect(Disconnect::new(Status::NORMAL))],
            };
            for frame in frames {
                frame.encode(&mut output);
                if let Frame::AgentDisconnect(_) = frame {
                    io.write_all(&output).await.ok();
                    return;
                }
            }
        }
        let written = io.write_all_buf(&mut output).await;
        if written.is_err() || !matches!(io.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

fn ack(stream_id: u64, frame_id: u64) -> Frame {
    Frame::Ack(Ack::new(stream_id, frame_id, &Actions::new()))
}

#[tokio::test]
async fn acks_that_never_come() {
    let addr = faulty(Capabilities::PIPELINING, |n, stream_id, frame_id| {
        Some(match n % 3 {
            0 => vec![],
            _ => vec![ack(stream_id, frame_id)],
        })
    });
    let run = bench(addr.await, &[&BRIEF[..], &SHORT].concat()).await;
    assert_eq!(run.code, Some(1));
    let summary = run.json();
    adds_up(&summary);
    // The first of each connection at least.
    assert!(count(&summary, "missing") >= 8, "{summary}");
    assert_eq!(count(&summary, "unexpected"), 0);
    assert!(run.verdict().contains(" missing ACKs"), "{}", run.stderr);
}

#[tokio::test]
async fn acks_that_come_twice() {
    let addr = faulty(Capabilities::PIPELINING, |_, stream_id, frame_id| {
        Some(vec![ack(stream_id, frame_id); 2])
    })
    .await;
    let run = bench(addr, &[&BRIEF[..], &PATIENT].concat()).await;
    assert_eq!(run.code, Some(1));
    let summary = run.json();
    adds_up(&summary);
    let sent = count(&summary, "sent");
    assert!(sent > 0);
    assert_eq!(count(&summary, "answered"), sent);
    assert_eq!(count(&summary, "unexpected"), sent, "the last one too");
    let verdict = format!("spop: {addr}: {sent} unexpected ACKs");
    assert_eq!(run.verdict(), verdict);
}

#[tokio::test]
async fn acks_with_other_ids() {
    let stream_id: Answer = |_, stream_id, frame_id| Some(vec![ack(stream_id + 1, frame_id)]);
    let frame_id: Answer = |_, stream_id, frame_id| Some(vec![ack(stream_id, frame_id + 1)]);
    for wrong in [stream_id, frame_id] {
        let addr = faulty(Capabilities::PIPELINING, wrong).await;
        let run = bench(addr, &[&BRIEF[..], &SHORT].concat()).await;
        assert_eq!(run.code, Some(1));
        let summary = run.json();
        let sent = count(&summary, "sent");
        assert!(sent > 0);
        assert_eq!(count(&summary, "missing"), sent);
        assert_eq!(count(&summary, "unexpected"), sent);
        let verdict = format!("spop: {addr}: {sent} missing ACKs, {sent} unexpected ACKs");
        assert_eq!(run.verdict(), verdict);
    }
}

/// The agent answers the first NOTIFY only when it has the second, which is sent when the
/// first was given up. The third ends the run.
#[tokio::test]
async fn acks_that_come_late() {
    let addr = faulty(Capabilities::PIPELINING, |n, stream_id, frame_id| {
        Some(match n {
            0 => vec![],
            1 => vec![ack(stream_id - 2, frame_id), ack(stream_id, frame_id)],
            _ => vec![Frame::AgentDisconnect(Disconnect::new(Status::NORMAL))],
        })
    });
    let args = [
        "--connections",
        "1",
        "--window",
        "1",
        "--json",
        "--duration",
        "60m",
    ];
    let run = bench(addr.await, &[&args[..], &SHORT].concat()).await;
    assert_eq!(run.code, Some(1));
    let summary = run.json();
    adds_up(&summary);
    assert!(count(&summary, "late") >= 1, "{summary}");
    assert_eq!(count(&summary, "sent"), 3, "{summary}");
    assert_eq!(count(&summary, "missing"), 1, "{summary}");
    assert_eq!(count(&summary, "unexpected"), 0, "{summary}");
    assert!(run.verdict().contains(" late ACKs"), "{}", run.stderr);
}

/// An hour would pass if the end of all connections did not end the run.
#[tokio::test]
async fn connections_that_end() {
    let disconnects: Answer = |n, stream_id, frame_id| {
        Some(match n {
            0..10 => vec![ack(stream_id, frame_id)],
            _ => vec![Frame::AgentDisconnect(Disconnect::new(Status::RESOURCE))],
        })
    };
    let asks: Answer = |_, _, _| Some(vec![Frame::HaproxyHello(haproxy_hello())]);
    let closes: Answer = |n, stream_id, frame_id| (n < 3).then(|| vec![ack(stream_id, frame_id)]);
    for (answer, why) in [
        (
            disconnects,
            "the agent disconnected with status 13 (resource allocation error)",
        ),
        (
            asks,
            "the agent broke the protocol: a HAPROXY-HELLO frame is not allowed here",
        ),
        (closes, "the agent closed the connection without a word"),
    ] {
        let addr = faulty(Capabilities::PIPELINING, answer).await;
        let args = ["--duration", "60m", "--connections", "2", "--window", "1"];
        let args = [&args[..], &PATIENT].concat();
        let run = bench(addr, &[&args[..], &["--json"]].concat()).await;
        assert_eq!(run.code, Some(1));
        let summary = run.json();
        adds_up(&summary);
        assert_eq!(count(&summary, "missing"), 2, "the last of each");
        assert_eq!(
            summary["failures"],
            json!([{"connections": 2, "error": why}])
        );
        let verdict = format!("spop: {addr}: 2 missing ACKs, 2 failed connections");
        assert_eq!(run.verdict(), verdict);

        let run = bench(addr, &args).await;
        assert_eq!(run.code, Some(1));
        let failed = format!("  failed      2 connections: {why}\n");
        assert!(run.stdout.ends_with(&failed), "{}", run.stdout);
        assert!(
            run.stdout.contains("nothing was measured"),
            "{}",
            run.stdout
        );
    }
}

/// Nothing is answered, so all that is sent is what goes without an answer.
#[tokio::test]
async fn an_agent_without_pipelining() {
    for (capabilities, window) in [(Capabilities::NONE, 1), (Capabilities::PIPELINING, 16)] {
        let addr = faulty(capabilities, |_, _, _| Some(vec![])).await;
        let run = bench(addr, &[&BRIEF[..], &SHORT].concat()).await;
        let summary = run.json();
        assert_eq!(summary["window"], window);
        assert_eq!(count(&summary, "sent"), 8 * window);
        let said = run.stderr.matches("does not announce pipelining").count();
        assert_eq!(said, usize::from(window == 1));
    }
}

/// Three connections at most wait at a time, however many NOTIFYs are due.
#[tokio::test]
async fn an_agent_that_falls_behind() {
    let addr = faulty(Capabilities::PIPELINING, |_, _, _| Some(vec![])).await;
    let args = ["--rate", "10000", "--connections", "3", "--window", "2"];
    let run = bench(addr, &[&args[..], &BRIEF, &SHORT].concat()).await;
    let summary = run.json();
    assert_eq!(run.code, Some(1));
    adds_up(&summary);
    let (sent, unsent) = (count(&summary, "sent"), count(&summary, "unsent"));
    assert!(sent + unsent >= 2200, "{summary}");
    assert!(unsent > 0, "{summary}");
    assert_eq!(summary["measured"]["latency_us"], Value::Null);
}
