//! Handlers that fail: each request gets what the failure policy says, and HAProxy never
//! waits in vain.

use std::future::pending;
use std::time::Duration;

use futures_util::future::join_all;
use spop_server::{Actions, Config, FailurePolicy, Request, Router, Scope};
use spop_testkit::http::Client;

use crate::agent::{Agent, answer, path};
use crate::site::{Plan, ask, shown, spoe_errors, versions};

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_answered_by_policy() {
    for haproxy in versions() {
        let config = Config::new()
            .with_handler_timeout(Duration::from_millis(200))
            .with_failure_policy(FailurePolicy::from_fn(|failure| {
                Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
            }));
        let agent = Agent::start(Router::new().message("ask", obey), config);
        let server = Plan::new([agent.addr()]).start(&haproxy).await;
        let client = Client::new();

        let cases = [
            ("well", ""),
            ("panic", "panic"),
            ("panic-later", "panic"),
            ("never", "deadline"),
            ("void", "void-actions"),
            ("huge", "ack-too-big"),
        ];
        // All of them at once, so that they share connections; then again on warm ones.
        for _ in 0..4 {
            let answers = join_all((0..48).map(|number| {
                let (path, failure) = cases[number % cases.len()];
                let (client, server) = (&client, &server);
                async move {
                    let id = number.to_string();
                    (ask(client, server, path, &id).await, id, path, failure)
                }
            }));
            for (answer, id, path, failure) in answers.await {
                let expected = if failure.is_empty() { id.as_str() } else { "" };
                let context = format!("{} {path}: {:?}", haproxy.version(), answer.headers);
                assert_eq!(shown(&answer, "answer"), expected, "{context}");
                assert_eq!(shown(&answer, "failure"), failure, "{context}");
                assert_eq!(shown(&answer, "error"), "", "{context}");
            }
        }
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    }
}

/// Messages that no route is named after, and handlers' errors, are answered, too.
#[tokio::test(flavor = "multi_thread")]
async fn errors_and_unknown_messages_are_answered() {
    let failing = Router::new().message("ask", async || Err::<Actions, _>("no such luck"));
    for haproxy in versions() {
        for router in [failing.clone(), Router::new()] {
            let agent = Agent::start(router, Config::new());
            let server = Plan::new([agent.addr()]).start(&haproxy).await;
            let client = Client::new();
            for id in 0..20 {
                let answer = ask(&client, &server, "", &id.to_string()).await;
                assert_eq!(shown(&answer, "answer"), "");
                assert_eq!(shown(&answer, "error"), "", "{}", haproxy.version());
            }
            let log = server.log();
            assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
        }
    }
}

async fn obey(request: Request) -> Actions {
    let actions = answer(&request);
    match path(&request) {
        "/panic" => panic!("on request"),
        "/panic-later" => {
            tokio::task::yield_now().await;
            panic!("on request, later");
        }
        "/never" => pending().await,
        "/void" => actions.set_var(Scope::Transaction, "not a name", 1),
        "/huge" => actions.set_var(Scope::Transaction, "huge", "x".repeat(2000).as_str()),
        _ => actions,
    }
}
