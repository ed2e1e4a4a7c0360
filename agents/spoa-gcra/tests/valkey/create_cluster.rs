//! The script that forms a cluster, which ships in `deploy/valkey`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use spop_testkit::port;
use spop_testkit::tools::Valkey;
use spop_testkit::valkey::Server;
use tempfile::TempDir;
use tokio::process::Command;

use super::{allowed, client, config, ready, slow, state_of, store};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/valkey/create-cluster.sh"
);
pub(crate) const PASSWORD: &str = "secret";

#[tokio::test(flavor = "multi_thread")]
async fn it_makes_a_cluster_and_finds_it_the_next_time() {
    let nodes = nodes(3).await;
    let first = script(&nodes, &[]).await;
    assert_eq!(
        said(&first),
        "Making a cluster of 3 nodes, with 0 replicas for each primary.\nThe 3 nodes are a cluster.\n"
    );
    let before = ids(&nodes).await;

    let second = script(&nodes, &[]).await;
    assert_eq!(said(&second), "The 3 nodes are a cluster already.\n");
    assert_eq!(ids(&nodes).await, before);

    // The nodes call themselves by name, and the agent goes by it.
    let seed = format!("redis://:{PASSWORD}@127.0.0.1:{}", nodes[0].port());
    let store = store(&seed, config());
    for n in 0..20 {
        ready(&store, client(n)).await;
        assert!(allowed(&store, client(n), slow(1), 1).await);
        assert!(!allowed(&store, client(n), slow(1), 1).await);
    }
    for node in &nodes {
        let primary = state_of(&store, node).unwrap();
        assert!(primary.node.starts_with("localhost:"), "{}", primary.node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_each_primary_its_replicas() {
    let nodes = nodes(6).await;
    said(&script(&nodes, &[("REPLICAS", "1")]).await);
    let mut replicas = 0;
    for node in &nodes {
        replicas += usize::from(ask(node, &["role"]).await.starts_with("slave"));
    }
    assert_eq!(replicas, 3);
    let again = script(&nodes, &[("REPLICAS", "1")]).await;
    assert_eq!(said(&again), "The 6 nodes are a cluster already.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_completes_what_was_begun() {
    // Their slots, but not each other: as after a script that was killed.
    let nodes = nodes(3).await;
    for (node, range) in nodes
        .iter()
        .zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]])
    {
        let command = [&["cluster", "addslotsrange"], &range[..]].concat();
        assert_eq!(ask(node, &command).await, "OK");
    }
    ask(&nodes[0], &["cluster", "set-config-epoch", "1"]).await;
    ask(&nodes[1], &["cluster", "set-config-epoch", "2"]).await;
    let output = script(&nodes, &[]).await;
    assert!(said(&output).ends_with("The 3 nodes are a cluster.\n"));
    assert_eq!(
        said(&script(&nodes, &[]).await),
        "The 3 nodes are a cluster already.\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_in_one_line_what_is_wrong() {
    let dead = nodes(3).await;
    for node in &dead {
        node.kill();
    }
    let line = complaint(script(&dead, &[("WAIT", "0")]).await);
    let first = format!("localhost:{} does not answer", dead[0].port());
    assert!(line.contains(&first), "{line}");

    let mut nodes = nodes(3).await;
    let line = complaint(script(&nodes, &[("REDISCLI_AUTH", "wrong")]).await);
    assert!(line.contains("refuses the password"), "{line}");

    nodes[2] = Server::start().await.unwrap();
    let line = complaint(script(&nodes, &[]).await);
    assert!(
        line.contains("is not run with cluster-enabled yes"),
        "{line}"
    );
}

/// Servers that know nothing of each other.
async fn nodes(count: usize) -> Vec<Server> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let bus = port::free().unwrap().to_string();
        let arguments = [
            ("--cluster-enabled", "yes"),
            ("--cluster-port", &bus),
            ("--cluster-node-timeout", "1000"),
            ("--cluster-announce-hostname", "localhost"),
            ("--cluster-preferred-endpoint-type", "hostname"),
            ("--requirepass", PASSWORD),
            ("--primaryauth", PASSWORD),
        ];
        let words: Vec<_> = arguments
            .iter()
            .flat_map(|&(name, value)| [name, value])
            .collect();
        nodes.push(Server::start_with(&words).await.unwrap());
    }
    nodes
}

/// Runs the script on these nodes.
async fn script(nodes: &[Server], environment: &[(&str, &str)]) -> Output {
    let places = nodes
        .iter()
        .map(|node| format!("localhost:{}", node.port()));
    script_at(&places.collect::<Vec<_>>(), environment).await
}

/// Runs the script on the nodes at these places. It finds `valkey-cli` on its `PATH`, as it does
/// where it is deployed.
pub(crate) async fn script_at(places: &[String], environment: &[(&str, &str)]) -> Output {
    let dir = TempDir::with_prefix("create-cluster-").unwrap();
    let valkey_cli = dir.path().join("valkey-cli");
    fs::write(&valkey_cli, cli_wrapper()).unwrap();
    fs::set_permissions(&valkey_cli, Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .arg(SCRIPT)
        .args(places)
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .env_remove("VALKEYCLI_AUTH")
        .env("REDISCLI_AUTH", PASSWORD)
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// A shell script that runs the `valkey-cli` of these tests, which may be an unpacked one.
fn cli_wrapper() -> String {
    let command = Valkey::find().unwrap().cli.command();
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))
}

/// What it said, having succeeded.
pub(crate) fn said(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

/// The one line that it said, having failed.
fn complaint(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

pub(crate) async fn ask(node: &Server, command: &[&str]) -> String {
    let command = [&["-a", PASSWORD, "--no-auth-warning"], command].concat();
    node.cli(&command).await.unwrap()
}

async fn ids(nodes: &[Server]) -> Vec<String> {
    let mut ids = Vec::new();
    for node in nodes {
        ids.push(ask(node, &["cluster", "myid"]).await);
    }
    ids
}
