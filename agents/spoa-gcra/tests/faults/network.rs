//! The network between the agent and one primary fails; the cluster itself is well.

use std::time::Duration;

use spop_testkit::valkey::Setup;
use tokio::time::{Instant, sleep};

use crate::clients::SHARDS;
use crate::promise::{Promise, Times};
use crate::site::Site;

/// How long it lasts.
const OUTAGE: Duration = Duration::from_millis(1500);

/// A cluster whose nodes the agent reaches through links.
fn linked() -> Setup {
    Setup {
        links: true,
        ..Setup::new(SHARDS, 1)
    }
}

const CUT: Promise = Promise {
    fault: "network cut",
    guarantee: "Connections from the agent to one primary are closed and refused. The \
        primary's clients are on the failure policy at once.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_network_cut() {
    let site = Site::start(linked()).await;
    let happened = Instant::now();
    site.cluster.link(0).cut();
    site.falls_back(&[0]).await;
    sleep(OUTAGE).await;
    site.cluster.link(0).heal();
    let healed = Instant::now();
    site.judge(&CUT, Times { happened, healed }).await;
}

const SILENT: Promise = Promise {
    fault: "network silent",
    guarantee: "Nothing arrives any more from one primary, and nothing is refused. As with a \
        frozen primary, its clients wait for the decision budget until the agent has noticed.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_network_silent() {
    let site = Site::start(linked()).await;
    let happened = Instant::now();
    site.cluster.link(0).silence();
    site.falls_back(&[0]).await;
    sleep(OUTAGE).await;
    site.cluster.link(0).heal();
    let healed = Instant::now();
    site.judge(&SILENT, Times { happened, healed }).await;
}

const SLOW: Promise = Promise {
    fault: "network slow",
    guarantee: "A link that takes less than the decision budget is waited for. Over one that \
        takes longer (here 60 ms there and back), clients are on the failure policy.",
    ..Promise::FIRST_SHARD
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_network_slow() {
    let site = Site::start(linked()).await;
    // Before `happened`: nobody may notice this.
    site.cluster.link(0).slow(Duration::from_millis(1));
    sleep(Duration::from_millis(500)).await;
    let happened = Instant::now();
    site.cluster.link(0).slow(Duration::from_millis(30));
    site.falls_back(&[0]).await;
    sleep(OUTAGE).await;
    site.cluster.link(0).heal();
    let healed = Instant::now();
    site.judge(&SLOW, Times { happened, healed }).await;
}
