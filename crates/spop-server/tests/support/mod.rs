//! What the tests share: an agent in memory, and requests to it.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub(crate) mod recorder;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use spop_client::Client;
use spop_client::spop_codec::{Ack, HaproxyHello, Notify as Frame, NotifyBuilder, TypedData};
use spop_server::{
    Action, Actions, Config, FailurePolicy, Notify, Peer, Request, Router, Scope, serve_connection,
};
use tokio::io::DuplexStream;
use tower_service::Service;

/// Starts an agent with `service` behind an in-memory stream, and shakes hands with it.
pub(crate) async fn connect<S>(service: S, config: Config) -> Client<DuplexStream>
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let (haproxy, agent) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve_connection(agent, Peer::Local, service, config));
    Client::handshake(haproxy, HaproxyHello::new(16_380, "test-engine"))
        .await
        .unwrap()
}

/// An agent whose handler does what the request's message says.
pub(crate) fn obedient() -> Router {
    Router::new()
        .message("ready", async || answer("ready"))
        .message("slow", async |request: Request| {
            let millis = request.arg("ms").to_u64().unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            answer("slow")
        })
        .message("yield", async || {
            tokio::task::yield_now().await;
            answer("yield")
        })
        .message("fail", async || Err::<Actions, _>("no such luck"))
        .message("panic", async || -> Actions { panic!("on request") })
        .message("panic-later", async || -> Actions {
            tokio::task::yield_now().await;
            panic!("on request, later")
        })
        .message("panic-at-once", || -> std::future::Ready<Actions> {
            panic!("before there is a future")
        })
        .message("never", async || std::future::pending::<Actions>().await)
        .message("void", async || {
            answer("void").set_var(Scope::Session, "not a name", 1)
        })
        .message("huge", async || {
            Actions::new().set_var(Scope::Session, "huge", "x".repeat(2000).as_str())
        })
        .message("echo", async |request: Request| {
            let mut actions = Actions::new();
            for arg in request.args() {
                actions =
                    actions.set_var(Scope::Transaction, arg.name.to_str().unwrap(), arg.value);
            }
            actions
        })
}

pub(crate) fn answer(how: &str) -> Actions {
    Actions::new().set_var(Scope::Session, "how", how)
}

/// A configuration whose failures set `sess.failure`.
pub(crate) fn telling() -> Config {
    Config::new().with_failure_policy(FailurePolicy::from_fn(|failure| {
        Actions::new().set_var(Scope::Session, "failure", failure.as_str())
    }))
}

pub(crate) fn notify(stream_id: u64, message: &str) -> Frame {
    NotifyBuilder::new()
        .message(message, [])
        .unwrap()
        .build(stream_id, 1)
}

pub(crate) fn slow(stream_id: u64, millis: u64) -> Frame {
    let args = [("ms", TypedData::Uint64(millis))];
    NotifyBuilder::new()
        .message("slow", args)
        .unwrap()
        .build(stream_id, 1)
}

/// The variables an ACK sets, as text.
pub(crate) fn variables(ack: &Ack) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for action in ack.actions() {
        let Action::SetVar { scope, name, value } = action else {
            panic!("{action:?}");
        };
        let text = match value {
            TypedData::String(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        variables.insert(format!("{scope}.{name}"), text);
    }
    variables
}

/// The one variable an ACK sets, `name=value`; empty if it sets none.
#[track_caller]
pub(crate) fn only(ack: &Ack) -> String {
    let variables: Vec<_> = variables(ack).into_iter().collect();
    match &variables[..] {
        [] => String::new(),
        [(name, value)] => format!("{name}={value}"),
        more => panic!("{more:?}"),
    }
}
