//! cluster.yaml: HAProxy, three agents, a Valkey cluster that makes itself.

use spop_testkit::containers::Engine;

use crate::compose::{Compose, Program};
use crate::site::{Site, limited, until};
use crate::{images, primaries};

/// The service that makes the cluster and ends, as docker-compose calls its container.
const ONE_SHOT: &str = "rate-limit-cluster-create-cluster-1";

const AGENTS: [&str; 3] = [
    "rate-limit-cluster-agent-1-1",
    "rate-limit-cluster-agent-2-1",
    "rate-limit-cluster-agent-3-1",
];

/// In which they are found.
const NETWORK: &str = "rate-limit-cluster_default";

#[test]
fn container_cluster_makes_itself_and_three_agents_keep_one_limit() {
    let engine = images::engine();
    let compose = Compose::new(&engine, Program::Docker, "cluster.yaml");
    let work = async || {
        let site = up(&engine, &compose).await;
        // Three agents with a limit of their own would let three times as many pass.
        assert_eq!(site.statuses("192.0.2.1", 45).await, limited(45));

        // Run again, it finds the cluster and leaves it alone: the state is still there.
        engine.podman(["start", ONE_SHOT]).await.unwrap();
        let said = one_shot_says(&engine, "are a cluster already.").await;
        assert!(said.contains("are a cluster."), "{said}");
        assert_eq!(site.statuses("192.0.2.1", 5).await, vec![429; 5]);

        // All at once, with other addresses: the nodes are introduced to each other again.
        compose.run("down").await.unwrap();
        compose.run("up --detach").await.unwrap();
        one_shot_says(&engine, "are a cluster").await;
        agents_use_all_of_it(&engine).await;
        site.ready(3).await;
        assert_eq!(site.statuses("192.0.2.2", 45).await, limited(45));
    };
    engine.run(work).unwrap();
}

/// Brings it up and waits for all of it.
pub(crate) async fn up(engine: &Engine, compose: &Compose<'_>) -> Site {
    compose.run("up --detach").await.unwrap();
    one_shot_says(engine, "are a cluster.").await;
    agents_use_all_of_it(engine).await;
    let site = Site::published();
    site.ready(3).await;
    site
}

/// Waits until the one-shot service has said so, and ended well; returns all that it said.
async fn one_shot_says(engine: &Engine, text: &str) -> String {
    let said = async || engine.podman(["logs", ONE_SHOT]).await.unwrap_or_default();
    until(text, async || said().await.contains(text)).await;
    let status = ["inspect", "--format={{.State.Status}} {{.State.ExitCode}}"];
    until("the one-shot service ends well", async || {
        let state = engine.podman(status.into_iter().chain([ONE_SHOT])).await;
        state.unwrap() == "exited 0"
    })
    .await;
    said().await
}

/// Waits until each agent is connected to every primary.
async fn agents_use_all_of_it(engine: &Engine) {
    for agent in AGENTS {
        primaries::are_connected(engine, agent, NETWORK, 3).await;
    }
}
