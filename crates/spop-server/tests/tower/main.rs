//! Layers, tower's and ours, around the agent and around a route: every NOTIFY is answered
//! once, and by whom it should be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod contract;
mod metrics;
mod ours;
mod policy;
mod readiness;
#[path = "../support/mod.rs"]
mod support;
mod theirs;
mod trace;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use spop_client::spop_codec::{Frame, Notify as NotifyFrame};
use spop_client::{Client, ClientError};
use spop_server::{
    Actions, FailurePolicy, HandlerError, IntoActions, Notify, Request, Router, Scope,
};
use support::{answer, only};
use tokio::io::DuplexStream;
use tower::{BoxError, Service};

/// The messages that [`obey`] knows.
const NAMES: [&str; 7] = [
    "ready",
    "slow",
    "fail",
    "rejected",
    "panic",
    "panic-later",
    "never",
];

/// A handler that does what the message says, and may fail.
async fn obey(request: Request) -> Result<Actions, BoxError> {
    match request.name().as_bytes() {
        b"ready" => Ok(answer("ready")),
        b"slow" => {
            let millis = request.arg("ms").to_u64().unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(answer("slow"))
        }
        b"fail" => Err("no such luck".into()),
        b"rejected" => Err(HandlerError::rejected("not like this").into()),
        b"panic" => panic!("on request"),
        b"panic-later" => {
            tokio::task::yield_now().await;
            panic!("on request, later")
        }
        _ => std::future::pending().await,
    }
}

/// The same for the one message of a NOTIFY.
async fn obey_notify(notify: Notify) -> Result<Actions, BoxError> {
    let request = notify.request(&notify.messages().next().unwrap());
    obey(request).await
}

/// As [`obey_notify`], and panics before there is a future if the message says so.
fn panic_or_obey(notify: Notify) -> impl Future<Output = Result<Actions, BoxError>> {
    let message = notify.messages().next().unwrap();
    assert_ne!(message.name(), "panic-at-once", "on request");
    obey_notify(notify)
}

/// A router with `service` for each message that [`obey`] knows.
fn routes<S>(service: S) -> Router
where
    S: Service<Request, Response: IntoActions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    NAMES.into_iter().fold(Router::new(), |router, name| {
        router.message_service(name, service.clone())
    })
}

/// A policy whose answers set `sess.rescued`; those of the engine set `sess.failure`.
fn rescue() -> FailurePolicy {
    FailurePolicy::from_fn(|failure| {
        Actions::new().set_var(Scope::Session, "rescued", failure.as_str())
    })
}

/// Two agents with the same layers: around the whole, and around each route.
macro_rules! at_both_levels {
    ($($layers:tt)+) => {
        [
            $crate::support::connect(
                ::tower::ServiceBuilder::new()
                    $($layers)+
                    .service(::tower::service_fn($crate::obey_notify)),
                $crate::support::telling(),
            )
            .await,
            $crate::support::connect(
                $crate::routes(
                    ::tower::ServiceBuilder::new()
                        $($layers)+
                        .service(::tower::service_fn($crate::obey)),
                ),
                $crate::support::telling(),
            )
            .await,
        ]
    };
}
use at_both_levels;

/// Asks everything at once, and gets these answers in any order, each once, and no other.
async fn check(client: &mut Client<DuplexStream>, cases: &[(NotifyFrame, &str)]) {
    for (notify, _) in cases {
        client.queue(notify).unwrap();
    }
    client.flush().await.unwrap();
    let mut expected: BTreeMap<u64, &str> = cases
        .iter()
        .map(|(notify, answer)| (notify.stream_id(), *answer))
        .collect();
    assert_eq!(expected.len(), cases.len());
    while !expected.is_empty() {
        let ack = client.recv_ack().await.unwrap();
        let answer = expected.remove(&ack.stream_id());
        assert_eq!(answer, Some(only(&ack).as_str()), "{}", ack.stream_id());
    }
    silent(client).await;
}

/// Nothing more comes.
async fn silent(client: &mut Client<DuplexStream>) {
    client.set_timeout(Some(Duration::from_secs(2)));
    match client.recv().await {
        Err(ClientError::Timeout { .. }) => client.set_timeout(Some(Duration::from_secs(60))),
        Ok(Frame::Ack(ack)) => panic!("a second ACK for stream {}", ack.stream_id()),
        other => panic!("{other:?}"),
    }
}
