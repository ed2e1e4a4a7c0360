//! The scripts as functions of the server, and what a server does that has lost them.

use spoa_gcra::store::valkey::{Call, Config};
use spop_testkit::valkey::{Cluster, Server, Setup};

use super::{PATIENCE, allowed, calls, client, config, ready, slow, store};

fn functions() -> Config {
    Config {
        call: Call::Fcall,
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_decides_as_the_script_does() {
    let server = Server::start().await.unwrap();
    let by_function = store(&server.url(), functions());
    let by_script = store(&server.url(), config());
    ready(&by_function, client(0)).await;
    ready(&by_script, client(0)).await;
    // Both spend from the same state.
    for turn in 0..6 {
        let store = [&by_function, &by_script][turn % 2];
        assert!(allowed(store, client(1), slow(6), 1).await, "{turn}");
    }
    for store in [&by_function, &by_script] {
        assert!(!allowed(store, client(1), slow(6), 1).await);
        assert!(allowed(store, client(1), slow(6), 0).await);
    }
    assert!(calls(&server, "fcall").await >= 5);
    assert!(calls(&server, "evalsha").await >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_gone_are_loaded_again() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), functions());
    ready(&store, client(0)).await;
    for turn in 0..5 {
        server.cli(&["function", "flush", "sync"]).await.unwrap();
        assert!(allowed(&store, client(1), slow(5), 1).await, "{turn}");
    }
    assert!(!allowed(&store, client(1), slow(5), 1).await);
    let libraries = server.cli(&["function", "list"]).await.unwrap();
    assert!(libraries.contains("gcra_all_"), "{libraries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_has_the_functions() {
    let cluster = Cluster::start_with(Setup::new(3, 1)).await.unwrap();
    let store = store(&cluster.urls(), functions());
    for n in 0..30 {
        ready(&store, client(n)).await;
    }
    let replica = cluster.node(3);
    let loads = calls(replica, "function|load").await;
    replica.cli(&["cluster", "failover"]).await.unwrap();
    let promoted = async {
        while !replica.cli(&["role"]).await.unwrap().starts_with("master") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, promoted).await.unwrap();
    let libraries = replica.cli(&["function", "list"]).await.unwrap();
    assert!(libraries.contains("gcra_all_"), "{libraries}");
    // And it decides, once the store has found it.
    for n in 0..30 {
        ready(&store, client(n)).await;
    }
    assert!(calls(replica, "fcall").await > 0);
    assert!(calls(replica, "function|load").await >= loads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_few_rights() {
    let server = Server::start().await.unwrap();
    let rights = "on >secret resetkeys ~gcra:* -@all +info +function|load +fcall +get +set +time";
    let mut command = vec!["acl", "setuser", "limiter"];
    command.extend(rights.split(' '));
    assert_eq!(server.cli(&command).await.unwrap(), "OK");
    let url = format!("redis://limiter:secret@127.0.0.1:{}", server.port());
    let store = store(&url, functions());
    ready(&store, client(0)).await;
    assert!(allowed(&store, client(1), slow(1), 1).await);
    assert!(!allowed(&store, client(1), slow(1), 1).await);
}
