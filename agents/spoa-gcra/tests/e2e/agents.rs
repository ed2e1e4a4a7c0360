//! The agent's own life under HAProxy: health checks, restarts, the clean end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::process::Signal;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;

use crate::site::{PATIENCE, SLOW, Site, agent, client, engines, until};

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_see_the_agent_come_and_go() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        let status = async || {
            site.haproxy
                .status_of("spoe-agents", "agent1")
                .await
                .unwrap()
        };
        until("the agent is up", async || status().await == "UP").await;
        site.agents[0].signal(Signal::TERM).unwrap();
        let ended = site.agents[0].process().wait(PATIENCE).await.unwrap();
        assert!(ended.success(), "{ended}");
        until("the agent is down", async || {
            status().await.starts_with("DOWN")
        })
        .await;
        // The site stays up.
        assert_eq!(site.get(&client(2)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_under_load_it_is_used_again() {
    for haproxy in engines() {
        for signal in [Signal::TERM, Signal::KILL] {
            let mut site = Site::start(&haproxy, &SLOW).await;
            let addr = site.agents[0].addr();
            let stop = Arc::new(AtomicBool::new(false));
            let served = Arc::new(AtomicUsize::new(0));
            let load: Vec<_> = (0..4)
                .map(|worker| {
                    let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
                    let (url, client) = (site.haproxy.url(), client(20 + worker));
                    tokio::spawn(async move {
                        while !stop.load(Ordering::Relaxed) {
                            let status = client.get(&url).send().await.unwrap().status;
                            assert!(matches!(status, 200 | 429), "{status}");
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let some_load = async || {
                let before = served.load(Ordering::Relaxed);
                until("load", async || {
                    served.load(Ordering::Relaxed) > before + 50
                })
                .await;
            };
            some_load().await;

            site.agents[0].signal(signal).unwrap();
            site.agents[0].process().wait(PATIENCE).await.unwrap();
            // Without an agent requests pass, and HAProxy's log says that they were not decided.
            some_load().await;
            until("requests go unanswered", async || {
                !site.unanswered().is_empty()
            })
            .await;
            site.agents[0] = agent(&SLOW).addr(addr).start().await.unwrap();

            until("HAProxy asks again", async || {
                site.get(&client(2)).await.header("RateLimit").is_some()
            })
            .await;
            some_load().await;
            stop.store(true, Ordering::Relaxed);
            for worker in load {
                worker.await.unwrap();
            }
        }
    }
}

/// HAProxy gives up on what it asks meanwhile, but the agent finds it all when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_agent_is_over_when_it_goes_on() {
    const USERS: u8 = 64;
    const ENOUGH: usize = 2000;
    for haproxy in engines() {
        let agent = agent(&SLOW).start().await.unwrap();
        let web = Web::start().await.unwrap();
        let setup = Setup {
            timeout: Some(Duration::from_millis(100)),
            ..Setup::new(agent.addr(), web.addr())
        };
        let server = Server::start(&haproxy, &setup).await.unwrap();
        let stop = AtomicBool::new(false);
        let undecided = AtomicUsize::new(0);
        let decided_in_a_row = AtomicUsize::new(0);
        let user = async |number| {
            let client = client(20 + number);
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(server.url()).send().await.unwrap();
                if answer.header("RateLimit").is_some() {
                    decided_in_a_row.fetch_add(1, Ordering::Relaxed);
                } else {
                    decided_in_a_row.store(0, Ordering::Relaxed);
                    undecided.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let all_is_decided = async || {
            decided_in_a_row.store(0, Ordering::Relaxed);
            until("every request is decided", async || {
                decided_in_a_row.load(Ordering::Relaxed) >= ENOUGH
            })
            .await;
        };
        let pause = async {
            all_is_decided().await;
            agent.signal(Signal::STOP).unwrap();
            until("much goes unanswered", async || {
                undecided.load(Ordering::Relaxed) >= ENOUGH
            })
            .await;
            agent.signal(Signal::CONT).unwrap();
            all_is_decided().await;
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(pause, join_all((0..USERS).map(user)));
    }
}

/// Without checks HAProxy never marks it DOWN, and half of the requests are for it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_beside_another_it_takes_no_decision_with_it() {
    for haproxy in Haproxy::all().unwrap() {
        let web = Web::start().await.unwrap();
        let killed = agent(&SLOW).start().await.unwrap();
        let other = agent(&SLOW).start().await.unwrap();
        let setup = Setup {
            second_agent: Some(other.addr()),
            timeout: Some(Duration::from_secs(2)),
            changes: vec![("default-server check", "")],
            ..Setup::new(killed.addr(), web.addr())
        };
        let server = Server::start(&haproxy, &setup).await.unwrap();
        killed.signal(Signal::KILL).unwrap();
        killed.process().wait(PATIENCE).await.unwrap();
        for last in 20..40 {
            let answer = client(last).get(server.url()).send().await.unwrap();
            let version = haproxy.version();
            assert!(answer.header("RateLimit").is_some(), "{version}: {last}");
        }
    }
}
