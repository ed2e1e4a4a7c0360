//! An agent dies and is started anew, beside one that lives on.

use std::time::Duration;

use spop_testkit::valkey::Setup;
use tokio::time::{Instant, sleep};

use crate::clients::{BURST, SHARDS};
use crate::promise::{Promise, Times};
use crate::site::{Site, agent};

const KILLED: Promise = Promise {
    fault: "agent killed and restarted",
    guarantee: "Another agent's clients do not notice. What was in flight to the killed one is \
        unanswered. The new one limits by itself until it has found Valkey, whose counts are all \
        still there.",
    shards: &[0, 1, 2],
    agent: Some(1),
    excess: BURST,
    ..Promise::UNNOTICED
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_agent_killed() {
    let mut site = Site::with_agents(Setup::new(SHARDS, 1), 2).await;
    let happened = Instant::now();
    let addr = site.agents[1].addr();
    site.agents[1].kill();
    sleep(Duration::from_millis(500)).await;
    site.agents[1] = agent(&site.cluster).addr(addr).start().await.unwrap();
    site.processes_changed();
    let healed = Instant::now();
    site.judge(&KILLED, Times { happened, healed }).await;
}
