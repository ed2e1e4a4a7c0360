//! The client against a sound agent: questions, many at once, and the end.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use spop_client::{Client, ClientError, Connection, haproxy_hello};
use spop_codec::{
    Action, Actions, AgentConfig, Capabilities, Frame, HaproxyHello, Notify, NotifyBuilder, Scope,
    Status, TypedData,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Sets a variable for each argument to the argument's value.
fn mirror(notify: &Notify) -> Actions {
    let mut actions = Actions::new();
    for arg in notify.messages().flat_map(|message| message.args()) {
        let name = match arg.name.to_str() {
            Ok("") | Err(_) => "unnamed",
            Ok(name) => name,
        };
        actions = actions.set_var(Scope::Transaction, name, arg.value);
    }
    actions
}

#[tokio::test]
async fn a_question_is_answered() {
    let addr = agent::listen(mirror).await;
    let mut client = Client::connect(addr).await.unwrap();
    assert_eq!(client.negotiated().max_frame_size, 16_380);
    assert_eq!(client.negotiated().capabilities, Capabilities::PIPELINING);
    assert_eq!(client.agent_hello().version.as_deref(), Some(&b"2.0"[..]));

    let ip = TypedData::Ipv4([192, 0, 2, 7].into());
    let args = [("ip", ip), ("", true.into())];
    for stream_id in [1, 3, 5] {
        let ack = client.notify("anything", args).await.unwrap();
        assert_eq!((ack.stream_id(), ack.frame_id()), (stream_id, 1));
        let expected = mirror(&NotifyBuilder::new().message("m", args).unwrap().build(0, 0));
        assert!(ack.actions().eq(expected.iter()));
    }
    let none = client.notify("anything", []).await.unwrap();
    assert_eq!(none.actions().count(), 0);
}

#[tokio::test]
async fn a_hundred_questions_in_one_write() {
    let addr = agent::listen(mirror).await;
    let mut client = Client::connect(addr).await.unwrap();
    let mut asked = BTreeSet::new();
    for number in 0..100_i64 {
        let stream_id = client.next_stream_id();
        let notify = NotifyBuilder::new().message("m", [("number", number.into())]);
        client.queue(&notify.unwrap().build(stream_id, 1)).unwrap();
        asked.insert(stream_id);
    }
    client.flush().await.unwrap();

    let mut order = Vec::new();
    for _ in 0..100 {
        let ack = client.recv_ack().await.unwrap();
        let number = i64::try_from(ack.stream_id() / 2).unwrap();
        let expected = Actions::new().set_var(Scope::Transaction, "number", number);
        assert!(ack.actions().eq(expected.iter()));
        order.push(ack.stream_id());
    }
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), asked);
    assert!(!order.is_sorted(), "the agent answers in reverse");
}

/// A stream that counts its writes.
struct Counted {
    io: DuplexStream,
    writes: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn one_flush_is_one_write() {
    let (io, theirs) = tokio::io::duplex(65_536);
    tokio::spawn(agent::serve(theirs, AgentConfig::new(), mirror));
    let counted = Counted { io, writes: 0 };
    let mut client = Client::handshake(counted, haproxy_hello()).await.unwrap();
    for stream_id in [1, 3, 5] {
        let notify = NotifyBuilder::new().build(stream_id, 1);
        client.queue(&notify).unwrap();
    }
    // What is queued leaves before the raw bytes, a frame that nobody knows, with them.
    client
        .send_raw(&[0, 0, 0, 7, 50, 0, 0, 0, 1, 1, 1])
        .await
        .unwrap();
    for _ in 0..3 {
        client.recv_ack().await.unwrap();
    }
    let writes = client.into_connection().into_inner().writes;
    assert_eq!(writes, 2, "the HELLO and all of the rest");
}

#[tokio::test]
async fn ids_may_be_any() {
    let addr = agent::listen(mirror).await;
    let mut client = Client::connect(addr).await.unwrap();
    for (stream_id, frame_id) in [(0, 1), (u64::MAX, 7)] {
        let notify = NotifyBuilder::new().build(stream_id, frame_id);
        let ack = client.exchange(&notify).await.unwrap();
        assert_eq!((ack.stream_id(), ack.frame_id()), (stream_id, frame_id));
    }
}

#[tokio::test]
async fn frames_in_single_bytes() {
    // One byte fits into the stream at a time.
    let (ours, theirs) = tokio::io::duplex(1);
    tokio::spawn(agent::serve(theirs, AgentConfig::new(), mirror));
    let mut client = Client::handshake(ours, haproxy_hello()).await.unwrap();
    let ack = client.notify("m", [("a", "x".into())]).await.unwrap();
    assert_eq!(ack.actions().count(), 1);
    client.disconnect(Status::NORMAL).await.unwrap();
    client.closed().await.unwrap();
}

#[tokio::test]
async fn the_end_is_agreed_on() {
    let addr = agent::listen(mirror).await;
    let mut client = Client::connect(addr).await.unwrap();
    // In flight when the connection ends: its ACK is dropped.
    client.queue(&NotifyBuilder::new().build(1, 1)).unwrap();
    let bye = client.disconnect(Status::NORMAL).await.unwrap();
    assert_eq!(bye.status, Status::NORMAL);
    client.closed().await.unwrap();
    assert!(matches!(client.recv().await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn who_breaks_the_protocol_is_disconnected() {
    let addr = agent::listen(mirror).await;
    let mut client = Client::connect(addr).await.unwrap();
    client.send_raw(&[0, 0, 0, 1, 3]).await.unwrap();
    let error = client.recv().await.unwrap_err();
    let ClientError::Disconnected(bye) = error else {
        panic!("{error}");
    };
    assert_eq!(bye.status, Status::INVALID_FRAME);
    client.closed().await.unwrap();

    let timeout = Some(spop_client::DEFAULT_TIMEOUT);
    let mut connection = Connection::connect(addr, timeout).await.unwrap();
    let early = NotifyBuilder::new().build(1, 1);
    connection.send(&Frame::Notify(early)).await.unwrap();
    let Frame::AgentDisconnect(bye) = connection.recv().await.unwrap() else {
        panic!("not a DISCONNECT");
    };
    assert_eq!(bye.status, Status::INVALID_FRAME);
}

#[tokio::test]
async fn what_haproxy_would_not_send() {
    let addr = agent::listen(mirror).await;
    let connection = Connection::connect(addr, None).await.unwrap();
    let hello = HaproxyHello::new(256, "small");
    let mut client = Client::over(connection, hello).await.unwrap();
    assert_eq!(client.negotiated().max_frame_size, 256);

    // 7 bytes of header, 2 of the name, 1 for the number of arguments, 1 of the argument's
    // name, 1 of type, 2 of length.
    let with = |length: usize| {
        let text = "x".repeat(length);
        let args = [("", TypedData::from(text.as_str()))];
        NotifyBuilder::new().message("m", args).unwrap().build(1, 1)
    };
    let error = client.send(&with(243)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TooBig {
                length: 257,
                limit: 256
            }
        ),
        "{error}"
    );
    let ack = client.exchange(&with(242)).await.unwrap();
    assert_eq!(ack.actions().count(), 0, "the answer was too big");

    let many = vec![("", TypedData::Null); 256];
    let error = client.notify("m", many).await.unwrap_err();
    assert!(matches!(error, ClientError::TooManyArgs(_)), "{error}");
    // Nothing of it was sent: the connection still works.
    let ack = client.notify("m", [("a", 1.into())]).await.unwrap();
    assert!(matches!(
        ack.actions().next(),
        Some(Action::SetVar { value, .. }) if value.to_i64() == Some(1)
    ));
}

#[tokio::test]
async fn hello_that_cannot_be_agreed_on() {
    let addr = agent::listen(mirror).await;
    for size in [255, 1] {
        let connection = Connection::connect(addr, None).await.unwrap();
        let refused = Client::over(connection, HaproxyHello::new(size, "e")).await;
        let error = refused.unwrap_err();
        let ClientError::Disconnected(bye) = error else {
            panic!("{error}");
        };
        assert_eq!(bye.status, Status::BAD_MAX_FRAME_SIZE);
    }
}
