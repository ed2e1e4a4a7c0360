//! The client against agents that do wrong or nothing: each is an error of its own, and in
//! time. The clock is tokio's and stands still, so no test waits.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;

use std::time::Duration;

use agent::encoded;
use spop_client::{Client, ClientError, Connection, haproxy_hello};
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, DecodeError, Disconnect, Frame, FrameType,
    NotifyBuilder, Status,
};
use tokio::io::{AsyncWriteExt, DuplexStream};

fn agent_hello() -> AgentHello {
    let agreed = haproxy_hello().negotiate(16_380, Capabilities::PIPELINING);
    AgentHello::new(&agreed.unwrap())
}

fn ack(stream_id: u64, frame_id: u64) -> Frame {
    Frame::Ack(Ack::new(stream_id, frame_id, &Actions::new()))
}

/// An agent that shakes hands, answers the first NOTIFY with `bytes`, and waits for the end.
fn answers_with(bytes: Vec<u8>) -> DuplexStream {
    agent::scripted(|mut script| async move {
        script.recv().await.unwrap();
        script.send(&[Frame::AgentHello(agent_hello())]).await;
        script.recv().await.unwrap();
        script.io.write_all(&bytes).await.unwrap();
        while script.recv().await.is_some() {}
    })
}

async fn asked(io: DuplexStream) -> Result<Ack, ClientError> {
    let mut client = Client::handshake(io, haproxy_hello()).await.unwrap();
    client.notify("m", []).await
}

#[tokio::test(start_paused = true)]
async fn silence() {
    let silent = |hello: bool| {
        agent::scripted(move |mut script| async move {
            script.recv().await.unwrap();
            if hello {
                script.send(&[Frame::AgentHello(agent_hello())]).await;
            }
            while script.recv().await.is_some() {}
        })
    };
    let timed_out = |error: ClientError, what: &str, millis: u64| {
        let ClientError::Timeout { waiting_for, after } = error else {
            panic!("{error}");
        };
        assert_eq!((waiting_for, after), (what, Duration::from_millis(millis)));
    };

    let error = Client::handshake(silent(false), haproxy_hello()).await;
    timed_out(error.unwrap_err(), "AGENT-HELLO", 5000);

    let mut client = Client::handshake(silent(true), haproxy_hello())
        .await
        .unwrap();
    client.set_timeout(Some(Duration::from_millis(15)));
    timed_out(client.notify("m", []).await.unwrap_err(), "ACK", 15);
    timed_out(client.recv_ack().await.unwrap_err(), "ACK", 15);
    timed_out(client.recv().await.unwrap_err(), "frame", 15);
    timed_out(client.closed().await.unwrap_err(), "close by the agent", 15);
    let bye = client.disconnect(Status::NORMAL).await;
    timed_out(bye.unwrap_err(), "AGENT-DISCONNECT", 15);
}

#[tokio::test(start_paused = true)]
async fn nobody_reads() {
    let (ours, _theirs) = tokio::io::duplex(16);
    let mut connection = Connection::new(ours);
    let error = connection.send_raw(&[0; 17]).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Timeout {
                waiting_for: "room to write",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_after_the_timeout_is_dropped() {
    let (late, released) = tokio::sync::oneshot::channel();
    let io = agent::scripted(|mut script| async move {
        script.recv().await.unwrap();
        script.send(&[Frame::AgentHello(agent_hello())]).await;
        script.recv().await.unwrap();
        released.await.unwrap();
        script.recv().await.unwrap();
        script.send(&[ack(1, 1), ack(3, 1)]).await;
        while script.recv().await.is_some() {}
    });
    let mut client = Client::handshake(io, haproxy_hello()).await.unwrap();
    client.set_timeout(Some(Duration::from_millis(1)));
    let error = client.notify("m", []).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    client.set_timeout(None);
    late.send(()).unwrap();
    assert_eq!(client.notify("m", []).await.unwrap().stream_id(), 3);
}

#[tokio::test]
async fn answers_nobody_asked_for() {
    for (stream_id, frame_id) in [(1, 2), (1, 0), (3, 1)] {
        let io = answers_with(encoded(&[ack(stream_id, frame_id)]));
        let error = asked(io).await.unwrap_err();
        assert!(
            matches!(error, ClientError::UnexpectedAck { .. }),
            "{error}"
        );
        let ids = format!("stream-id {stream_id}, frame-id {frame_id}");
        assert!(error.to_string().contains(&ids), "{error}");
    }
}

#[tokio::test]
async fn frames_that_do_not_belong() {
    let again = Frame::AgentHello(agent_hello());
    let error = asked(answers_with(encoded(&[again]))).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Decode(DecodeError::Unexpected {
                frame_type: FrameType::AGENT_HELLO
            })
        ),
        "{error}"
    );

    // A type that nobody assigned, with the ids of the question: skipped.
    let unknown = [0, 0, 0, 7, 104, 0, 0, 0, 1, 1, 1];
    let mut bytes = unknown.to_vec();
    bytes.extend(encoded(&[ack(1, 1)]));
    assert_eq!(asked(answers_with(bytes)).await.unwrap().stream_id(), 1);

    let too_big = 16_381_u32.to_be_bytes().to_vec();
    let error = asked(answers_with(too_big)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Decode(DecodeError::TooBig { .. })),
        "{error}"
    );
    // An action of type 9.
    let malformed = vec![0, 0, 0, 10, 103, 0, 0, 0, 1, 1, 1, 9, 3, 0];
    let error = asked(answers_with(malformed)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Decode(DecodeError::Malformed { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn the_agent_leaves() {
    let bye = Disconnect::with_message(Status(42), "back at nine");
    let bytes = encoded(&[Frame::AgentDisconnect(bye.clone())]);
    let error = asked(answers_with(bytes)).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Disconnected(said) if *said == bye),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "the agent disconnected with status 42 (back at nine)"
    );

    let leaves_after = |bytes: &'static [u8]| {
        agent::scripted(move |mut script| async move {
            script.recv().await.unwrap();
            script.send(&[Frame::AgentHello(agent_hello())]).await;
            script.recv().await.unwrap();
            script.io.write_all(bytes).await.unwrap();
        })
    };
    let error = asked(leaves_after(&[])).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed), "{error}");
    let error = asked(leaves_after(&[0, 0, 0])).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Truncated { bytes: 3 }),
        "{error}"
    );
}

#[tokio::test]
async fn the_goodbye_is_found_behind_a_failed_write() {
    let io = agent::scripted(|mut script| async move {
        script.recv().await.unwrap();
        let bye = Disconnect::new(Status::RESOURCE);
        script
            .send(&[
                Frame::AgentHello(agent_hello()),
                Frame::AgentDisconnect(bye),
            ])
            .await;
    });
    let mut client = Client::handshake(io, haproxy_hello()).await.unwrap();
    // The agent's end is gone: this write fails, which is not the news.
    let error = client.notify("m", []).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Disconnected(bye) if bye.status == Status::RESOURCE),
        "{error}"
    );
    let error = client.notify("m", []).await.unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error}");
}

#[tokio::test]
async fn a_hello_that_haproxy_refuses() {
    for (size, status) in [
        (Some(255), Status::BAD_MAX_FRAME_SIZE),
        (Some(16_381), Status::BAD_MAX_FRAME_SIZE),
        (None, Status::NO_MAX_FRAME_SIZE),
    ] {
        let (heard, hears) = tokio::sync::oneshot::channel();
        let io = agent::scripted(|mut script| async move {
            script.recv().await.unwrap();
            let mut hello = agent_hello();
            hello.max_frame_size = size;
            script.send(&[Frame::AgentHello(hello)]).await;
            heard.send(script.recv().await).unwrap();
        });
        let error = Client::handshake(io, haproxy_hello()).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Refused(said) if said == status),
            "{error}"
        );
        let Some(Frame::HaproxyDisconnect(bye)) = hears.await.unwrap() else {
            panic!("the agent is told why");
        };
        assert_eq!(bye.status, status);
    }
}

#[tokio::test]
async fn no_hello_at_all() {
    let opens_with = |bytes: Vec<u8>| {
        agent::scripted(move |mut script| async move {
            script.recv().await.unwrap();
            script.io.write_all(&bytes).await.unwrap();
        })
    };
    let shake = async |bytes| {
        Client::handshake(opens_with(bytes), haproxy_hello())
            .await
            .unwrap_err()
    };
    let error = shake(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    assert!(matches!(error, ClientError::Decode(_)), "{error}");
    let error = shake(encoded(&[ack(1, 1)])).await;
    assert!(
        matches!(error, ClientError::Decode(DecodeError::Unexpected { .. })),
        "{error}"
    );
    let busy = Frame::AgentDisconnect(Disconnect::new(Status::RESOURCE));
    let error = shake(encoded(&[busy])).await;
    assert!(matches!(error, ClientError::Disconnected(_)), "{error}");
    let error = shake(Vec::new()).await;
    assert!(matches!(error, ClientError::Closed), "{error}");
}

#[tokio::test]
async fn what_is_dropped_midway_is_not_lost() {
    let (more, released) = tokio::sync::oneshot::channel();
    let io = agent::scripted(|mut script| async move {
        script.recv().await.unwrap();
        script.send(&[Frame::AgentHello(agent_hello())]).await;
        script.recv().await.unwrap();
        let bytes = encoded(&[ack(1, 1)]);
        script.io.write_all(&bytes[..6]).await.unwrap();
        released.await.unwrap();
        script.io.write_all(&bytes[6..]).await.unwrap();
        while script.recv().await.is_some() {}
    });
    let mut client = Client::handshake(io, haproxy_hello()).await.unwrap();
    let notify = NotifyBuilder::new().build(1, 1);
    client.send(&notify).await.unwrap();
    client.set_timeout(Some(Duration::from_millis(1)));
    client.recv_ack().await.unwrap_err();
    client.set_timeout(None);
    more.send(()).unwrap();
    assert_eq!(client.recv_ack().await.unwrap().stream_id(), 1);
}
