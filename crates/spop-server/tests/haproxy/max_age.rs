//! Connections that the agent closes for their age, under load: HAProxy connects anew.
//!
//! A question that crosses the goodbye is lost, with every version. Up to 3.0 HAProxy can be
//! told to ask again ([`ASK_AGAIN`]), over another connection. Later versions, asking again at
//! once, take the same connection, which they still hold for open, and lose the decision:
//! about one in a thousand here, where connections get 200 ms old and users press.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use spop_server::{Config, Request, Router};
use spop_testkit::http::Client;

use crate::agent::{Agent, answer};
use crate::load::Load;
use crate::site::{ASK_AGAIN, Plan, SHOW_AGAIN, ask, shown, spoe_errors, until, versions};

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_renewed_under_load() {
    for haproxy in versions() {
        let peers: Arc<Mutex<HashSet<String>>> = Arc::default();
        let seen = Arc::clone(&peers);
        let handler = move |request: Request| {
            let peer = request.connection().peer().to_string();
            seen.lock().unwrap().insert(peer);
            async move { answer(&request) }
        };
        let router = Router::new()
            .message("ask", handler.clone())
            .message("ask-again", handler);
        let config = Config::new().with_max_connection_age(Some(Duration::from_millis(200)));
        let agent = Agent::start(router, config);
        let mut plan = Plan::new([agent.addr()]);
        if !haproxy.has_mux_engine() {
            plan.engine = ASK_AGAIN.to_owned();
            plan.rules = SHOW_AGAIN;
        }
        let server = plan.start(&haproxy).await;
        let load = Load::start(&server, true);
        load.more(1000).await;
        until("60 connections", async || peers.lock().unwrap().len() > 60).await;
        let (sent, wrong) = load.finish().await;
        let log = server.log();
        println!(
            "{}: {sent} requests, {} connections, {} questions lost, {} requests not decided",
            haproxy.version(),
            peers.lock().unwrap().len(),
            spoe_errors(&log).len(),
            wrong.len()
        );
        if haproxy.has_mux_engine() {
            assert!(wrong.len() * 20 < sent, "{}: {log:#?}", haproxy.version());
        } else {
            assert_eq!(wrong, [""; 0], "{}: {log:#?}", haproxy.version());
        }
        // HAProxy is none the worse for it.
        let client = Client::new();
        until("100 decisions in a row", async || {
            let answers = (0..100).map(|_| ask(&client, &server, "", "7"));
            let answers = join_all(answers).await;
            answers.iter().all(|answer| shown(answer, "answer") == "7")
        })
        .await;
        assert_eq!(agent.warnings(), "", "{}", haproxy.version());
    }
}
