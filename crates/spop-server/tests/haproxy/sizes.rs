//! Answers as large as they may be, and larger.
//!
//! HAProxy 3.1 and later stall a connection for good when they find 16 KiB unread on it; up
//! to 20 answers may be waiting there. With ACKs of 820 bytes instead of at most 800 the
//! second test stalls with them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use spop_server::{Actions, Config, FailurePolicy, Notify, Scope};
use spop_testkit::http::Client;
use tokio::sync::Barrier;
use tower::service_fn;

use crate::agent::Agent;
use crate::site::{Plan, ask, shown, spoe_errors, versions};

/// Of one ACK on the wire, by default.
const LARGEST: usize = 800;

const SHOW_LENGTH: &str = "http-request return status 200 content-type text/plain string ok \
    hdr length %[var(txn.e.answer),length] hdr failure %[var(txn.e.failure)] \
    hdr error %[var(txn.e.error)]";

fn config() -> Config {
    Config::new().with_failure_policy(FailurePolicy::from_fn(|failure| {
        Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_large_is_answered_by_policy_and_the_connection_lives() {
    for haproxy in versions() {
        let peers: Arc<Mutex<HashSet<String>>> = Arc::default();
        let seen = Arc::clone(&peers);
        let service = service_fn(move |notify: Notify| {
            let peer = notify.connection().peer().to_string();
            seen.lock().unwrap().insert(peer);
            let size = match path(&notify).as_str() {
                "/too-large" => LARGEST + 1,
                "/huge" => 40_000,
                _ => LARGEST,
            };
            async move { Ok::<_, Infallible>(answer_of(&notify, size).0) }
        });
        let agent = Agent::start(service, config());
        let plan = Plan {
            rules: SHOW_LENGTH,
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        let client = Client::new();
        for round in 0..30 {
            for (path, failure) in [
                ("largest", ""),
                ("too-large", "ack-too-big"),
                ("huge", "ack-too-big"),
            ] {
                let answer = ask(&client, &server, path, "").await;
                let context = format!("{} {round} {path}", haproxy.version());
                assert_eq!(shown(&answer, "failure"), failure, "{context}");
                assert_eq!(shown(&answer, "error"), "", "{context}");
                let length = shown(&answer, "length");
                // Its ids and the variable take the rest.
                let whole = length.parse().is_ok_and(|n: usize| n > LARGEST - 40);
                assert_eq!(whole, failure.is_empty(), "{context}: {length}");
            }
        }
        // None was closed for it.
        let open = agent.connections();
        for peer in &*peers.lock().unwrap() {
            assert!(
                open.contains(peer),
                "{}: {peer} {open:?}",
                haproxy.version()
            );
        }
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_answers_of_the_largest_size_at_once_stall_nobody() {
    /// HAProxy's own limit for one connection.
    const AT_ONCE: usize = 20;
    const ROUNDS: usize = 100;

    for haproxy in versions() {
        let rounds: Arc<Mutex<Vec<HashSet<String>>>> = Arc::default();
        let all_here = Arc::new(Barrier::new(AT_ONCE));
        let seen = Arc::clone(&rounds);
        let service = service_fn(move |notify: Notify| {
            let (seen, all_here) = (Arc::clone(&seen), Arc::clone(&all_here));
            async move {
                if path(&notify) == "/alone" {
                    return Ok::<_, Infallible>(Actions::new());
                }
                let peer = notify.connection().peer().to_string();
                seen.lock().unwrap().last_mut().unwrap().insert(peer);
                let (actions, _) = answer_of(&notify, LARGEST);
                all_here.wait().await;
                Ok(actions)
            }
        });
        let agent = Agent::start(service, config());
        let plan = Plan {
            global: "nbthread 1",
            rules: SHOW_LENGTH,
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        let client = Client::new();
        // A connection that has shaken hands takes all that comes.
        ask(&client, &server, "alone", "").await;
        for round in 0..ROUNDS {
            rounds.lock().unwrap().push(HashSet::new());
            let answers = (0..AT_ONCE).map(|_| ask(&client, &server, "together", ""));
            for answer in join_all(answers).await {
                let context = format!("{} {round}: {:?}", haproxy.version(), answer.headers);
                let length = shown(&answer, "length");
                let whole = length.parse().is_ok_and(|n: usize| n > LARGEST - 40);
                assert!(whole, "{context}");
                assert_eq!(shown(&answer, "failure"), "", "{context}");
                assert_eq!(shown(&answer, "error"), "", "{context}");
            }
        }
        let connections: Vec<usize> = rounds.lock().unwrap().iter().map(HashSet::len).collect();
        let alone = connections.iter().filter(|count| **count == 1).count();
        println!(
            "{}: on one connection in {alone} rounds of {ROUNDS}",
            haproxy.version()
        );
        if haproxy.has_mux_engine() {
            assert!(alone > 0, "{}: {connections:?}", haproxy.version());
        }
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    }
}

fn path(notify: &Notify) -> String {
    let message = notify.messages().next().unwrap();
    let path = message.arg("path").unwrap_or_default();
    path.to_text().unwrap().to_string()
}

/// An answer whose ACK has this size on the wire, and the length of its value.
fn answer_of(notify: &Notify, size: usize) -> (Actions, usize) {
    let ids = varint(notify.frame().stream_id()) + varint(notify.frame().frame_id());
    // Length, type, flags, ids.
    let head = 4 + 1 + 4 + ids;
    // Action, number of arguments, scope, the name and its length, the value's type and length.
    let action = 3 + 1 + "answer".len() + 1;
    let mut length = size - head - action - 1;
    while head + action + varint(length as u64) + length > size {
        length -= 1;
    }
    assert_eq!(head + action + varint(length as u64) + length, size);
    let value = "x".repeat(length);
    let actions = Actions::new().set_var(Scope::Transaction, "answer", value.as_str());
    (actions, length)
}

/// The bytes that a number takes (SPOE.txt §3.1).
fn varint(number: u64) -> usize {
    match number {
        0..240 => 1,
        240..2288 => 2,
        2288..264_432 => 3,
        _ => 4,
    }
}
