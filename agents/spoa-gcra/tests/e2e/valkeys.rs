//! The shared store: one limit over several agents, and what happens without Valkey.

use spop_testkit::process::Signal;
use spop_testkit::valkey::{Cluster, Server};

use crate::site::{SLOW, SLOW_LIMIT, Site, agent, client, engines, limited, nowhere, until};

/// The settings of [`SLOW`] over these nodes. Valkey gets as long as may be: it is a question
/// of the machine's speed otherwise whether it or the failure policy decides.
fn shared<'a>(nodes: &'a str, failure: &'a str) -> [(&'a str, &'a str); 5] {
    let [interval, burst] = SLOW;
    [
        interval,
        burst,
        ("VALKEY_NODES", nodes),
        ("SPOA_FAILURE", failure),
        ("SPOA_DECISION_BUDGET", "1000"),
    ]
}

/// Waits until the agent has found its Valkey, asking for clients that no test looks at.
async fn connected(site: &Site) {
    for agent in &site.agents {
        until("the agent finds Valkey", async || {
            site.get(&client(250)).await;
            agent
                .log()
                .iter()
                .any(|line| line.contains("source=\"valkey\""))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_keeps_one_limit_for_two_agents() {
    let valkey = Server::start().await.unwrap();
    for haproxy in engines() {
        valkey.cli(&["FLUSHALL"]).await.unwrap();
        two_agents(&haproxy, &valkey.url()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_one_limit_for_two_agents() {
    let cluster = Cluster::start(3).await.unwrap();
    for haproxy in engines() {
        for node in cluster.nodes() {
            node.cli(&["FLUSHALL"]).await.unwrap();
        }
        two_agents(&haproxy, &cluster.urls()).await;
    }
}

async fn two_agents(haproxy: &spop_testkit::tools::Haproxy, nodes: &str) {
    let settings = shared(nodes, "closed");
    let agents = vec![
        agent(&settings).start().await.unwrap(),
        agent(&settings).start().await.unwrap(),
    ];
    let site = Site::with_agents(haproxy, agents).await;
    connected(&site).await;
    let before: Vec<_> = site.agents.iter().map(|agent| agent.log().len()).collect();

    // Clients all over the hash slots, each with many requests at once.
    for last in 2..14 {
        let client = client(last);
        let answers = (0..4 * SLOW_LIMIT).map(|_| {
            let request = client.get(site.haproxy.url());
            async move { request.send().await.unwrap().status }
        });
        let mut statuses = futures_util::future::join_all(answers).await;
        statuses.sort_unstable();
        assert_eq!(statuses, limited(4 * SLOW_LIMIT), "client {last}");
    }
    assert!(site.unanswered().is_empty(), "{:?}", site.unanswered());

    // Both agents took part, and Valkey made every decision: what it denied, an agent may
    // deny again by itself.
    for (agent, before) in site.agents.iter().zip(before) {
        let log = agent.log();
        let decisions: Vec<_> = log[before..]
            .iter()
            .filter(|line| line.contains("allowed="))
            .collect();
        assert!(!decisions.is_empty());
        assert!(
            decisions
                .iter()
                .all(|line| line.contains("source=\"valkey\"")
                    || line.contains("source=\"cache\"") && line.contains("allowed=false")),
            "{decisions:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_valkey_the_policy_answers() {
    for haproxy in engines() {
        let gone = format!("redis://{}", nowhere());
        let cases = [
            ("local", limited(SLOW_LIMIT + 2)),
            ("open", vec![200; SLOW_LIMIT + 2]),
            ("closed", vec![429; SLOW_LIMIT + 2]),
        ];
        for (policy, expected) in cases {
            let site = Site::start(&haproxy, &shared(&gone, policy)).await;
            assert_eq!(
                site.statuses(&client(2), SLOW_LIMIT + 2).await,
                expected,
                "{policy}"
            );
            // HAProxy had an answer every time.
            assert!(
                site.unanswered().is_empty(),
                "{policy}: {:?}",
                site.unanswered()
            );
            let said = site.agents[0].log();
            let warnings = said.iter().filter(|line| line.contains("failure policy"));
            assert_eq!(warnings.count(), 1, "{said:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_or_killed_valkey_costs_no_answer_and_comes_back() {
    for haproxy in engines() {
        for signal in [Signal::STOP, Signal::KILL] {
            let valkey = Server::start().await.unwrap();
            let site = Site::start(&haproxy, &shared(&valkey.url(), "local")).await;
            connected(&site).await;
            let client = client(2);
            assert_eq!(site.statuses(&client, 2).await, [200, 200]);

            valkey.signal(signal).unwrap();
            // The local limiter starts with a full burst of its own.
            let statuses = site.statuses(&client, SLOW_LIMIT + 2).await;
            assert!(site.unanswered().is_empty(), "{:?}", site.unanswered());
            let log = site.agents[0].log();
            assert_eq!(statuses, limited(SLOW_LIMIT + 2), "{log:#?}");

            if signal == Signal::STOP {
                valkey.signal(Signal::CONT).unwrap();
            } else {
                valkey.restart().await.unwrap();
            }
            let seen = site.agents[0].log().len();
            until("the agent is back on Valkey", async || {
                site.get(&crate::site::client(251)).await;
                site.agents[0].log()[seen..]
                    .iter()
                    .any(|line| line.contains("source=\"valkey\""))
            })
            .await;
        }
    }
}
