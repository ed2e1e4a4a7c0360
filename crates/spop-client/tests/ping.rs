//! The health check, against agents that HAProxy would call up and down.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;

use agent::encoded;
use spop_client::{ClientError, Connection, Pong, health_check, ping};
use spop_codec::{Actions, AgentHello, Capabilities, Disconnect, Frame, HaproxyHello, Status};
use tokio::io::AsyncWriteExt;

fn agent_hello() -> AgentHello {
    let agreed = HaproxyHello::health_check(16_380).negotiate(16_380, Capabilities::NONE);
    AgentHello::new(&agreed.unwrap())
}

/// The verdict on an agent that answers the check with `bytes`, then closes if `close`.
async fn verdict(bytes: Vec<u8>, close: bool) -> Result<Pong, ClientError> {
    let io = agent::scripted(move |mut script| async move {
        let hello = script.recv().await;
        assert_eq!(
            hello,
            Some(Frame::HaproxyHello(HaproxyHello::health_check(16_380)))
        );
        script.io.write_all(&bytes).await.unwrap();
        if !close {
            while script.recv().await.is_some() {}
        }
    });
    health_check(Connection::new(io)).await
}

#[tokio::test]
async fn a_sound_agent() {
    let addr = agent::listen(|_| Actions::new()).await;
    let pong = ping(addr).await.unwrap();
    assert_eq!(pong.agent_hello, agent_hello());
    assert!(pong.closed);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_leaves_the_close_to_haproxy() {
    let hello = encoded(&[Frame::AgentHello(agent_hello())]);
    assert!(!verdict(hello.clone(), false).await.unwrap().closed);
    assert!(verdict(hello, true).await.unwrap().closed);
}

#[tokio::test]
async fn nobody_listens() {
    let (_socket, addr) = agent::nobody();
    let error = ping(addr).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)), "{error}");
}

#[tokio::test]
async fn something_follows_the_hello() {
    let bye = Frame::AgentDisconnect(Disconnect::new(Status::NORMAL));
    let bytes = encoded(&[Frame::AgentHello(agent_hello()), bye]);
    let error = verdict(bytes, true).await.unwrap_err();
    assert!(matches!(error, ClientError::Trailing { .. }), "{error}");
}

#[tokio::test]
async fn the_check_is_refused() {
    let bye = Frame::AgentDisconnect(Disconnect::new(Status::RESOURCE));
    let error = verdict(encoded(&[bye]), true).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Disconnected(bye) if bye.status == Status::RESOURCE),
        "{error}"
    );
}

#[tokio::test]
async fn hellos_that_fail_the_check_only() {
    let mut hello = agent_hello();
    hello.capabilities = None;
    let error = verdict(encoded(&[Frame::AgentHello(hello)]), true).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused(Status::NO_CAPABILITIES)),
        "{error}"
    );

    let mut bytes = encoded(&[Frame::AgentHello(agent_hello())]);
    // The flags are bytes 5 to 8: FIN and ABORT.
    bytes[8] = 3;
    let error = verdict(bytes, true).await.unwrap_err();
    assert!(
        matches!(error, ClientError::CheckFlags(flags) if flags.0 == 3),
        "{error}"
    );
}

#[tokio::test]
async fn no_hello() {
    let error = verdict(Vec::new(), true).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed), "{error}");
    let error = verdict(vec![0; 7], true).await.unwrap_err();
    assert!(matches!(error, ClientError::Decode(_)), "{error}");
}
