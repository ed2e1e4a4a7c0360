//! Ends that nobody planned: HAProxy's, whole and sudden, and the agent's.

use std::env;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spop_server::{Config, Request, Router, Scope, serve};
use spop_testkit::haproxy::Server;
use spop_testkit::http::Client;
use spop_testkit::port;
use spop_testkit::process::{Process, Signal};
use spop_testkit::tools::{Haproxy, Program};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::agent::{Agent, answer, echo, path};
use crate::load::Load;
use crate::site::{
    ASK, PATIENCE, Plan, SPOP_CHECK, ask, shown, spoe_errors, until, until_status, versions,
};

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_end_leaves_no_connection_open() {
    for haproxy in versions() {
        for signal in [Signal::USR1, Signal::TERM, Signal::KILL] {
            let agent = Agent::start(echo(), Config::new());
            let server = Plan::new([agent.addr()]).start(&haproxy).await;
            let load = Load::start(&server, true);
            load.more(200).await;
            let (_, wrong) = load.finish().await;
            assert_eq!(wrong, [""; 0], "{}", haproxy.version());
            assert!(!agent.connections().is_empty());

            assert_gone(&haproxy, &server, signal, &agent).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_end_ends_what_it_still_waited_for() {
    for haproxy in versions() {
        for signal in [Signal::TERM, Signal::KILL] {
            let waiting = Arc::new(());
            let held = Arc::clone(&waiting);
            let router = Router::new().message("ask", move |request: Request| {
                let held = Arc::clone(&held);
                async move {
                    if path(&request) == "/wait" {
                        pending::<()>().await;
                    }
                    drop(held);
                    answer(&request)
                }
            });
            let config = Config::new().with_handler_timeout(PATIENCE * 2);
            let agent = Agent::start(router, config);
            let server = Plan::new([agent.addr()]).start(&haproxy).await;
            let url = server.url() + "wait";
            let requests: Vec<_> = (0..10)
                .map(|_| {
                    let url = url.clone();
                    tokio::spawn(async move { Client::new().get(url).send().await })
                })
                .collect();
            // One is the test's, one the router's.
            until("10 handlers wait", async || {
                Arc::strong_count(&waiting) == 12
            })
            .await;

            assert_gone(&haproxy, &server, signal, &agent).await;
            until("the handlers are dropped", async || {
                Arc::strong_count(&waiting) == 2
            })
            .await;
            for request in requests {
                assert!(request.await.unwrap().is_err());
            }
        }
    }
}

/// HAProxy up to 3.0 says "a timeout occurred" on each connection that it does not need any
/// more; later ones close without a word.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_end_without_a_complaint() {
    for haproxy in versions() {
        let agent = Agent::start(echo(), Config::new());
        let plan = Plan {
            engine: ASK.replace("timeout idle 30s", "timeout idle 100ms"),
            backend: "default-server pool-purge-delay 100ms",
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        let client = Client::new();
        let answers = join_all((0..40).map(|_| ask(&client, &server, "", "7"))).await;
        assert!(answers.iter().all(|answer| shown(answer, "answer") == "7"));
        until("no connection is left", async || {
            agent.connections().is_empty()
        })
        .await;
        assert_eq!(agent.warnings(), "", "{}", haproxy.version());
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    }
}

/// Ends HAProxy, and waits until the agent has no connection left, without a complaint.
async fn assert_gone(haproxy: &Haproxy, server: &Server, signal: Signal, agent: &Agent) {
    let log = server.log();
    assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    server.signal(signal).unwrap();
    server.process().wait(PATIENCE).await.unwrap();
    until("no connection is left", async || {
        agent.connections().is_empty()
    })
    .await;
    assert_eq!(agent.warnings(), "", "{} {signal:?}", haproxy.version());
}

/// Longer than `timeout idle` of the next test.
const IDLE: Duration = Duration::from_secs(1);

/// Names the address for the agent that this test runs as a process of its own.
const AGENT: &str = "SPOP_SERVER_TEST_AGENT";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_replaced_by_the_other_and_used_again() {
    // This test is also the program of the agent that it kills.
    if let Ok(addr) = env::var(AGENT) {
        let listener = TcpListener::bind(addr).await.unwrap();
        println!("listening");
        return serve(listener, named("first")).await.unwrap();
    }
    for haproxy in versions() {
        let addr = port::free_addr().unwrap();
        let first = agent_process(&addr.to_string()).await;
        let second = Agent::start(named("second"), Config::new());
        let plan = Plan {
            backend: SPOP_CHECK,
            engine: ASK.replace("timeout idle 30s", "timeout idle 500ms"),
            rules: "http-request return status 200 content-type text/plain string ok \
                hdr answer %[var(txn.e.answer)] hdr by %[var(txn.e.by)] \
                hdr error %[var(txn.e.error)]",
            ..Plan::new([addr, second.addr()])
        };
        let server = plan.start(&haproxy).await;
        for agent in ["agent1", "agent2"] {
            until_status(&server, agent, "UP").await;
        }
        // HAProxy up to 3.0 connects anew only for more requests at once than it has idle
        // connections, which it closes after a while.
        let anyone_is = async |name: &str| {
            sleep(IDLE).await;
            let client = Client::new();
            let asked = (0..40).map(|_| ask(&client, &server, "", "7"));
            let answers = join_all(asked).await;
            answers.iter().any(|answer| shown(answer, "by") == name)
        };
        until("the first answers", async || anyone_is("first").await).await;
        let load = Load::start(&server, true);
        load.more(100).await;

        first.kill();
        until_status(&server, "agent1", "DOWN").await;
        let client = Client::new();
        for _ in 0..100 {
            let answer = ask(&client, &server, "", "7").await;
            assert_eq!(shown(&answer, "by"), "second", "{}", haproxy.version());
        }

        let _first = agent_process(&addr.to_string()).await;
        until_status(&server, "agent1", "UP").await;
        load.more(100).await;
        let (sent, wrong) = load.finish().await;
        println!(
            "{}: {} of {sent} requests were not decided, by {:?}",
            haproxy.version(),
            wrong.len(),
            wrong.first()
        );
        until("the first answers again", async || anyone_is("first").await).await;
    }
}

fn named(name: &'static str) -> Router {
    Router::new().message("ask", move |request: Request| async move {
        answer(&request).set_var(Scope::Transaction, "by", name)
    })
}

/// This test binary, as an agent.
async fn agent_process(addr: &str) -> Process {
    let this = Program::at(env::current_exe().unwrap());
    let process = Process::spawn("the agent", &this, |command| {
        command.args([
            "--exact",
            "disconnects::a_killed_agent_is_replaced_by_the_other_and_used_again",
            "--nocapture",
        ]);
        command.env(AGENT, addr);
    })
    .unwrap();
    process
        .line("listening", Duration::from_secs(20))
        .await
        .unwrap();
    process
}
