//! Peers that behave as HAProxy does, and check each answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use socket2::SockRef;
use spop_client::spop_codec::{Ack, Disconnect, Frame, Status};
use spop_client::{Client, ClientError, Connection, haproxy_hello, health_check};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::question::Question;
use crate::support::only;

/// As many as HAProxy has in flight.
const WINDOW: usize = 20;

pub(crate) async fn check_health(address: SocketAddr) {
    let connection = Connection::connect(address, Some(PATIENCE)).await.unwrap();
    assert!(health_check(connection).await.unwrap().closed);
}

/// Asks, some at a time, and gives the number of answers, when nothing is open or, as a
/// HAProxy that is killed, before.
pub(crate) async fn play(address: SocketAddr, rng: &mut Rng) -> u64 {
    let connection = Connection::connect(address, Some(PATIENCE)).await.unwrap();
    let mut client = Client::over(connection, haproxy_hello()).await.unwrap();
    let mut open = Open::new();
    let mut answers = 0;
    for _ in 0..rng.usize(1..20) {
        while open.len() < rng.usize(1..=WINDOW) {
            ask(&mut client, &mut open, rng).await;
        }
        client.flush().await.unwrap();
        let left = rng.usize(0..=open.len());
        while open.len() > left {
            take(&mut open, &client.recv_ack().await.unwrap());
            answers += 1;
        }
        if rng.u8(0..4) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(0..100))).await;
        }
    }
    if rng.u8(0..4) == 0 {
        leave(client, rng);
        return answers;
    }
    while !open.is_empty() {
        take(&mut open, &client.recv_ack().await.unwrap());
        answers += 1;
    }
    if rng.bool() {
        leave(client, rng);
        return answers;
    }
    // Nothing comes between the last answer and the goodbye.
    let mut goodbye = BytesMut::new();
    Frame::HaproxyDisconnect(Disconnect::new(Status::NORMAL)).encode(&mut goodbye);
    client.send_raw(&goodbye).await.unwrap();
    match client.recv().await {
        Err(ClientError::Disconnected(bye)) => assert_eq!(bye.status, Status::NORMAL),
        other => panic!("{other:?}"),
    }
    client.closed().await.unwrap();
    answers
}

/// Questions without an answer yet, by stream-id and frame-id.
type Open = BTreeMap<(u64, u64), Question>;

async fn ask(client: &mut Client<TcpStream>, open: &mut Open, rng: &mut Rng) {
    let frame_id = client.next_stream_id();
    let question = Question::random(rng, frame_id);
    if rng.u8(0..16) == 0 {
        let mut wire = BytesMut::new();
        question.encode_fragments(rng, &mut wire);
        client.send_raw(&wire).await.unwrap();
    } else {
        client.queue(&question.notify).unwrap();
    }
    let ids = (question.notify.stream_id(), frame_id);
    open.insert(ids, question);
}

fn take(open: &mut Open, ack: &Ack) {
    let ids = (ack.stream_id(), ack.frame_id());
    let question = open.remove(&ids);
    let question = question.unwrap_or_else(|| panic!("{ids:?} was not asked, or is answered"));
    let answer = only(ack);
    assert!(
        question.is_answered_by(&answer),
        "{:?}: {answer}",
        question.notify
    );
}

/// Without a word, by close or by reset.
fn leave(client: Client<TcpStream>, rng: &mut Rng) {
    let stream = client.into_connection().into_inner();
    if rng.bool() {
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}
