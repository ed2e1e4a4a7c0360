//! `reach`, on which `spoa-gcra check --reach` is built, against real servers.

use spoa_gcra::reach;
use spoa_gcra::settings::Settings;
use spop_testkit::valkey::{Cluster, Server};

use super::set_user;

async fn findings(settings: &[(&str, &str)]) -> Vec<reach::Finding> {
    let defaults = [("SPOE_ADDR", "127.0.0.1:0"), ("SPOA_ADMIN_ADDR", "off")];
    let all: Vec<_> = defaults.iter().chain(settings).collect();
    let value = |name: &str| {
        let (_, value) = all.iter().find(|(other, _)| *other == name)?;
        Some(value.into())
    };
    reach::all(&Settings::load(value).unwrap()).await
}

#[tokio::test]
async fn a_server_answers_those_whom_it_knows() {
    let server = Server::start().await.unwrap();
    let found = findings(&[("VALKEY_NODES", &server.url())]).await;
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.iter().all(reach::Finding::is_good), "{lines:#?}");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[1].contains(": answered in "), "{lines:#?}");
    assert!(lines[2].ends_with(": would decide"), "{lines:#?}");

    // Of several, agents take single servers for a mistake.
    let nodes = format!("{},valkey://127.0.0.1:1", server.url());
    let found = findings(&[("VALKEY_NODES", &nodes)]).await;
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, why) in lines[1..].iter().zip([
        "it is a single server, and not the only one in VALKEY_NODES",
        "Connection refused",
    ]) {
        let why = format!("OUT OF REACH: {why}");
        assert!(line.contains(&why), "{lines:#?}");
    }

    server
        .cli(&["config", "set", "requirepass", "secret"])
        .await
        .unwrap();
    let url = server.url();
    for (password, good) in [("secret", true), ("wrong", false)] {
        let found = findings(&[("VALKEY_NODES", &url), ("VALKEY_PASSWORD", password)]).await;
        assert_eq!(found[1].is_good(), good, "{}", found[1]);
        assert!(!found[1].to_string().contains(password), "{}", found[1]);
    }
    let unknown = findings(&[("VALKEY_NODES", &url)]).await;
    assert!(!unknown[1].is_good(), "{}", unknown[1]);
}

/// What is found as the ACL user `agent`, but for the listener.
async fn as_agent(servers: &[&Server], call: &str) -> Vec<String> {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let settings = [
        ("VALKEY_NODES", &*urls.join(",")),
        ("VALKEY_USERNAME", "agent"),
        ("VALKEY_PASSWORD", "secret"),
        ("SPOA_VALKEY_CALL", call),
    ];
    let mut found = findings(&settings).await;
    assert!(found.remove(0).is_good());
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_a_decision_has_no_right_to_is_named() {
    let server = Server::start().await.unwrap();
    let primary = format!("primary 127.0.0.1:{}: ", server.port());
    let needed = "resetkeys ~gcra:* -@all +info +get +set +time";
    for (call, rights, lacks) in [
        ("evalsha", "+eval +evalsha", None),
        ("fcall", "+fcall +function|load", None),
        ("evalsha", "+@all", None),
        ("evalsha", "+@all -@scripting", Some("+evalsha +eval")),
        ("fcall", "+@all -@scripting", Some("+fcall +function|load")),
        ("evalsha", "+eval", Some("+evalsha")),
        ("fcall", "+fcall", Some("+function|load")),
        ("evalsha", "+@all -set", Some("+set")),
        ("evalsha", "+@all -time -get", Some("+time +get")),
        ("evalsha", "resetkeys ~other:* +@all", Some("~gcra:*")),
        (
            "fcall",
            "resetkeys %R~gcra:* +@all -time",
            Some("+time ~gcra:*"),
        ),
        // The user is not asked what only a cluster takes.
        ("evalsha", "+@all -asking -cluster -ping", None),
    ] {
        set_user(&server, &format!("reset on >secret {needed} {rights}")).await;
        let found = as_agent(&[&server], call).await;
        assert_eq!(found.len(), 2, "{found:?}");
        let expected = match lacks {
            None => format!("{primary}would decide"),
            Some(lacks) => format!("{primary}OUT OF REACH: the user lacks {lacks}"),
        };
        assert_eq!(found[1], expected, "{call} {rights}");
    }
    // And nothing is left there.
    assert_eq!(server.cli(&["dbsize"]).await.unwrap(), "0");
    assert_eq!(server.cli(&["function", "list"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_server_that_does_not_say_what_it_is_part_of_is_no_use() {
    let server = Server::start().await.unwrap();
    set_user(&server, "on >secret ~gcra:* +@all -info").await;
    let found = as_agent(&[&server], "evalsha").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with(": OUT OF REACH: answered NOPERM to INFO"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_take_writes_would_not_decide() {
    let server = Server::start().await.unwrap();
    let port = server.port().to_string();
    // Of itself, for want of another.
    server
        .cli(&["replicaof", "127.0.0.1", &port])
        .await
        .unwrap();
    let found = findings(&[("VALKEY_NODES", &server.url())]).await;
    assert_eq!(found.len(), 3, "{found:?}");
    let said = found[2].to_string();
    assert!(
        said.ends_with("OUT OF REACH: answered READONLY to SET"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_primary_of_a_cluster_is_asked_once() {
    let cluster = Cluster::start(3).await.unwrap();
    for (node, lacks) in cluster.nodes().iter().zip(["-ping", "-eval", "-asking"]) {
        set_user(node, &format!("on >secret ~gcra:* +@all {lacks}")).await;
    }
    // Two are enough to know all three.
    let known = [cluster.node(0), cluster.node(1)];
    let found = as_agent(&known, "evalsha").await;
    assert_eq!(found.len(), 5, "{found:?}");
    for (node, said) in cluster.nodes().iter().zip([
        "would decide",
        "OUT OF REACH: the user lacks +eval",
        "OUT OF REACH: the user lacks +asking",
    ]) {
        let line = format!("primary 127.0.0.1:{}: {said}", node.port());
        assert!(found.contains(&line), "no {line:?} in {found:?}");
    }

    // What a primary has not at the moment, stores ask another one for.
    let other = cluster.node(1).cli(&["cluster", "myid"]).await.unwrap();
    let moving = ["cluster", "setslot", "0", "migrating", other.trim()];
    assert_eq!(cluster.node(0).cli(&moving).await.unwrap(), "OK");
    let found = as_agent(&[cluster.node(0)], "evalsha").await;
    let line = format!("primary 127.0.0.1:{}: would decide", cluster.node(0).port());
    assert!(found.contains(&line), "no {line:?} in {found:?}");

    set_user(cluster.node(0), "-cluster|slots").await;
    let found = as_agent(&[cluster.node(0)], "evalsha").await;
    assert!(
        found[0].ends_with(": OUT OF REACH: answered NOPERM to CLUSTER SLOTS"),
        "{found:?}"
    );
}
