//! The other agent's image, run as its README says.

use std::fs;
use std::time::{Duration, Instant};

use spop_client::Client;
use spop_client::spop_codec::{Action, TypedData};
use spop_testkit::containers::Engine;
use tokio::time::sleep;

use crate::agent::{ANY_USER, RESTRICTED, podman};

const AGENT: &str = concat!("localhost/spoa-ip-reputation:", env!("CARGO_PKG_VERSION"));

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn container_of_the_other_agents_image_follows_lists_that_are_mounted() {
    let engine = Engine::start().unwrap();
    // Not by `Engine::run`, where there is no network to fetch anything from.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(load(&engine));

    let lists = tempfile::tempdir().unwrap();
    fs::write(lists.path().join("block.txt"), "192.0.2.0/24\n").unwrap();
    let work = async || {
        podman(&engine, "network create site").await;
        let run = format!(
            "run --detach --name=agent --network=site {RESTRICTED} --user={ANY_USER}:0 \
             --volume={}:/lists:ro --env=SPOA_IP_LISTS=100=/lists/block.txt {AGENT}",
            lists.path().display()
        );
        podman(&engine, &run).await;
        let address = "inspect --format={{.NetworkSettings.Networks.site.IPAddress}} agent";
        let address = podman(&engine, address).await;
        until_score(&address, 100).await;
        podman(&engine, "exec agent /spoa-ip-reputation healthcheck").await;

        let new = lists.path().join("new");
        fs::write(&new, "198.51.100.0/24\n").unwrap();
        fs::rename(new, lists.path().join("block.txt")).unwrap();
        until_score(&address, 0).await;

        podman(&engine, "stop --time=20 agent").await;
        let code = podman(&engine, "inspect --format={{.State.ExitCode}} agent").await;
        assert_eq!(code, "0", "{}", podman(&engine, "logs agent").await);
    };
    engine.run(work).unwrap();
}

/// A development build, which takes a minute less.
async fn load(engine: &Engine) {
    let version = env!("CARGO_PKG_VERSION");
    let built = xtask::image::agent("spoa-ip-reputation", "dev", version).await;
    let archive = built.unwrap().archive.path;
    let load = ["load", "--input", archive.to_str().unwrap()];
    engine.podman(load).await.unwrap();
}

/// Asks about 192.0.2.7 until the answer is this one.
async fn until_score(agent: &str, score: i64) {
    let begin = Instant::now();
    loop {
        let found = ask(agent).await;
        if matches!(found, Ok(Some(found)) if found == score) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{score}: {found:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(agent: &str) -> anyhow::Result<Option<i64>> {
    let mut client = Client::connect(format!("{agent}:9000")).await?;
    let address = TypedData::Ipv4([192, 0, 2, 7].into());
    let ack = client.notify("check-ip", [("ip_src", address)]).await?;
    Ok(ack.actions().find_map(|action| match action {
        Action::SetVar { value, .. } => value.to_i64(),
        _ => None,
    }))
}
