//! The agent's image, started as a hardened platform would.

use spop_client::ping;
use spop_testkit::containers::Engine;
use spop_testkit::tools::workspace_root;

use crate::site::{SLOW, Site, limited};
use crate::{images, primaries};

/// Of the kind that OpenShift takes for a container that does not insist on one.
pub(crate) const ANY_USER: &str = "1000670000";

/// What takes all from a container that it does not need.
pub(crate) const RESTRICTED: &str = "--read-only --cap-drop=ALL --security-opt=no-new-privileges";

/// What is decided is the question here, not how fast a busy machine does it.
const PATIENT: &str = "--env=SPOA_DECISION_BUDGET=1000";

#[test]
fn container_of_the_agents_image_limits_a_site_as_any_user_without_any_right() {
    let engine = images::engine();
    let work = async || {
        start(&engine).await;

        // What haproxy.cfg asks as long as it runs, from here.
        let address = "inspect --format={{.NetworkSettings.Networks.site.IPAddress}} agent";
        let address = podman(&engine, address).await;
        ping(&format!("{address}:9000")).await.unwrap();
        podman(&engine, "exec agent /spoa-gcra healthcheck").await;

        primaries::are_connected(&engine, "agent", "site", 1).await;
        let site = Site::published();
        site.ready(1).await;
        assert_eq!(site.statuses("192.0.2.1", 15).await, limited(15));
        let state = podman(&engine, "exec valkey valkey-cli exists gcra:192.0.2.1").await;
        assert_eq!(state, "1");

        podman(&engine, "stop --time=20 agent").await;
        let code = podman(&engine, "inspect --format={{.State.ExitCode}} agent").await;
        assert_eq!(code, "0", "{}", podman(&engine, "logs agent").await);
    };
    engine.run(work).unwrap();
}

/// Valkey, the agent, a web service and HAProxy.
async fn start(engine: &Engine) {
    let deploy = workspace_root().join("deploy");
    let deploy = deploy.to_str().unwrap();
    podman(engine, "network create site").await;
    let run = |name: &str, more: &str| {
        format!("run --detach --name={name} --network=site {RESTRICTED} {more}")
    };
    let valkey = format!(
        "--volume={deploy}/valkey/valkey.conf:/valkey.conf:ro {} \
         valkey-server /valkey.conf --protected-mode no",
        images::VALKEY
    );
    podman(engine, &run("valkey", &valkey)).await;

    let [(interval, every), (burst, size)] = SLOW;
    let agent = format!(
        "--user={ANY_USER}:0 --env=VALKEY_NODES=redis://valkey:6379 --env={interval}={every} \
         --env={burst}={size} --env=SPOA_ADMIN_ADDR=0.0.0.0:{} {PATIENT} {}",
        primaries::ADMIN_PORT,
        images::AGENT
    );
    podman(engine, &run("agent", &agent)).await;

    let web = format!(
        "--volume={deploy}/compose/web.cfg:/web.cfg:ro {} haproxy -f /web.cfg",
        images::HAPROXY
    );
    podman(engine, &run("web", &web)).await;
    let haproxy = format!(
        "--volume={deploy}/haproxy:/etc/haproxy:ro --publish=80:8080 --publish=8404:8404 \
         --env=HTTP_BIND=:8080 --env=SPOE_AGENT=agent:9000 --env=SPOE_AGENT_REPLICAS=1 \
         --env=WEB_BACKEND=web:8080 --env=SPOE_TIMEOUT=2s {} haproxy -f /etc/haproxy/haproxy.cfg",
        images::HAPROXY
    );
    podman(engine, &run("haproxy", &haproxy)).await;
}

pub(crate) async fn podman(engine: &Engine, command: &str) -> String {
    engine.podman(command.split_whitespace()).await.unwrap()
}
