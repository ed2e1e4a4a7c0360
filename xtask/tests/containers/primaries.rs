//! What an agent says of its connections to Valkey.

use spop_testkit::containers::Engine;
use spop_testkit::http::Client;

use crate::site::until;

/// The port at which agents answer those who look after them.
pub(crate) const ADMIN_PORT: u16 = 9001;

/// Waits until this agent, which is in this network, is connected to so many primaries. Until
/// then, it decides by itself for some of the visitors.
pub(crate) async fn are_connected(engine: &Engine, agent: &str, network: &str, count: usize) {
    let address =
        format!("--format={{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    let address = engine.podman(["inspect", &address, agent]).await.unwrap();
    let url = format!("http://{address}:{ADMIN_PORT}/metrics");
    until("the agent is connected to its primaries", async || {
        let page = Client::new().get(&url).send().await;
        page.is_ok_and(|page| is_said_by(&String::from_utf8_lossy(&page.body), count))
    })
    .await;
}

/// Whether this page of metrics says so.
fn is_said_by(page: &str, primaries: usize) -> bool {
    let count = |metric: &str, label: &str| {
        let lines = page.lines().filter(|line| line.starts_with(metric));
        let lines = lines.filter(|line| line.contains(label) && !line.ends_with(" 0"));
        lines.count()
    };
    count("spoa_gcra_valkey_connections_total{", "node=") == primaries
        && count("spoa_gcra_valkey_breaker_state{", "state=\"closed\"") == primaries
}
