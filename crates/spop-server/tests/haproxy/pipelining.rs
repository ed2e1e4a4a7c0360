//! Many requests at once on few connections: those that wait hold up no other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use spop_server::{Config, Request, Router};
use spop_testkit::haproxy::Server;
use spop_testkit::http::Client;
use tokio::sync::{Semaphore, watch};

use crate::agent::{Agent, answer, path};
use crate::site::{Plan, ask, shown, spoe_errors, until, versions};

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_hold_up_no_fast_one() {
    for haproxy in versions() {
        let (gate, gated) = watch::channel(false);
        let slow = Arc::new(Mutex::new(Vec::new()));
        let fast = Arc::new(Mutex::new(Vec::new()));
        let router = {
            let (slow, fast) = (Arc::clone(&slow), Arc::clone(&fast));
            Router::new().message("ask", move |request: Request| {
                let is_slow = path(&request) == "/slow";
                let mut gated = gated.clone();
                let seen = if is_slow { &slow } else { &fast };
                let connection = request.connection().peer().to_string();
                seen.lock().unwrap().push(connection);
                async move {
                    if is_slow {
                        gated.wait_for(|open| *open).await.unwrap();
                    }
                    answer(&request)
                }
            })
        };
        let agent = Agent::start(router, Config::new());
        let plan = Plan {
            // All requests share the connections of one thread.
            global: "nbthread 1",
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        let client = Client::new();
        // A connection that has shaken hands takes 20 requests at a time.
        assert_eq!(decided(&client, &server, "fast", 0).await, Ok(()));
        fast.lock().unwrap().clear();

        let waiting = join_all((100..110).map(|id| decided(&client, &server, "slow", id)));
        let quick = async {
            until("the slow requests wait", async || {
                slow.lock().unwrap().len() == 10
            })
            .await;
            // While the slow ones wait: at once, then one by one.
            let burst = (200..220).map(|id| decided(&client, &server, "fast", id));
            let mut quick = join_all(burst).await;
            for id in 220..240 {
                quick.push(decided(&client, &server, "fast", id).await);
            }
            gate.send(true).unwrap();
            quick
        };
        let (waiting, quick) = tokio::join!(waiting, quick);
        let all: Result<Vec<()>, String> = waiting.into_iter().chain(quick).collect();
        assert_eq!(all, Ok(vec![(); 50]), "{}", haproxy.version());
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());

        let (slow, fast) = (slow.lock().unwrap(), fast.lock().unwrap());
        let slow: HashSet<_> = slow.iter().collect();
        let fast: HashSet<_> = fast.iter().collect();
        let both = slow.intersection(&fast).count();
        println!(
            "{}: connections with slow {}, with fast {}, with both {both}",
            haproxy.version(),
            slow.len(),
            fast.len()
        );
        // Earlier ones spread requests as they like.
        if haproxy.has_mux_engine() {
            assert!(both > 0, "{}", haproxy.version());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_any_order_reach_their_requests() {
    for haproxy in versions() {
        // One permit, one answer: handed out against the order of arrival.
        let waiting: Arc<Mutex<Vec<Arc<Semaphore>>>> = Arc::default();
        let router = {
            let waiting = Arc::clone(&waiting);
            Router::new().message("ask", move |request: Request| {
                let permit = Arc::new(Semaphore::new(0));
                waiting.lock().unwrap().push(Arc::clone(&permit));
                async move {
                    let _permit = permit.acquire().await.unwrap();
                    answer(&request)
                }
            })
        };
        let agent = Agent::start(router, Config::new());
        let server = Plan::new([agent.addr()]).start(&haproxy).await;
        let client = Client::new();
        for _ in 0..5 {
            let answers = join_all((0..40).map(|id| decided(&client, &server, "", id)));
            let backwards = async {
                until("40 requests wait", async || {
                    waiting.lock().unwrap().len() == 40
                })
                .await;
                for permit in waiting.lock().unwrap().drain(..).rev() {
                    permit.add_permits(1);
                }
            };
            let (answers, ()) = tokio::join!(answers, backwards);
            let answers: Result<Vec<()>, String> = answers.into_iter().collect();
            assert_eq!(answers, Ok(vec![(); 40]), "{}", haproxy.version());
        }
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
    }
}

/// Whether the request was answered with its own id.
async fn decided(client: &Client, server: &Server, path: &str, id: u32) -> Result<(), String> {
    let id = id.to_string();
    let answer = ask(client, server, path, &id).await;
    match shown(&answer, "answer") {
        said if said == id => Ok(()),
        _ => Err(format!("{path} {id}: {:?}", answer.headers)),
    }
}
