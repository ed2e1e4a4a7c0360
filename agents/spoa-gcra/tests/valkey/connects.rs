//! How it connects: whom it believes, as which user, and how often.

use std::time::{Duration, Instant};

use spoa_gcra::store::valkey::{Config, StoreError};
use spop_testkit::valkey::Server;

use super::{PATIENCE, allowed, ask, client, config, ready, slow, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_an_error_that_names_no_secret() {
    let server = Server::start_with(&["--requirepass", "secret"])
        .await
        .unwrap();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let right = store(&url("secret"), config());
    ready(&right, client(1)).await;

    let wrong = store(&url("guess"), config());
    for _ in 0..20 {
        let error = ask(&wrong, client(1), slow(1), 1).await.unwrap_err();
        assert_eq!(error, StoreError::NoTopology);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_just_the_rights_that_are_documented_is_enough() {
    let server = Server::start().await.unwrap();
    let rights = "on >secret ~gcra:* +info +cluster|slots +evalsha +eval +asking +get +set +time";
    let mut command = vec!["acl", "setuser", "agent"];
    command.extend(rights.split(' '));
    assert_eq!(server.cli(&command).await.unwrap(), "OK");
    let url = format!("redis://agent:secret@127.0.0.1:{}", server.port());
    // Even without +script|load, which only saves a round trip.
    let store = store(&url, config());
    ready(&store, client(1)).await;
    for expected in [true, false] {
        assert_eq!(allowed(&store, client(1), slow(1), 1).await, expected);
    }

    // Without the right to read, nobody is unlimited: it is an error.
    assert_eq!(
        server
            .cli(&["acl", "setuser", "agent", "-get"])
            .await
            .unwrap(),
        "OK"
    );
    let error = ask(&store, client(1), slow(1), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_as_many_as_configured_and_end_with_the_store() {
    let server = Server::start().await.unwrap();
    let connections = async || {
        let list = server.cli(&["client", "list"]).await.unwrap();
        // valkey-cli's own is there, too.
        list.lines().count() - 1
    };
    let until = async |wanted: usize| {
        let since = Instant::now();
        while connections().await != wanted {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let store = store(
        &server.url(),
        Config {
            lanes: 3,
            ..config()
        },
    );
    until(3).await;
    for n in 0..100 {
        ready(&store, client(n)).await;
    }
    until(3).await;
    let clone = store.clone();
    drop(store);
    ready(&clone, client(1)).await;
    drop(clone);
    until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_that_are_no_cluster_are_not_used() {
    let (one, two) = (
        Server::start().await.unwrap(),
        Server::start().await.unwrap(),
    );
    let both = store(&format!("{},{}", one.url(), two.url()), config());
    // By then, the same servers have answered a store of their own.
    for server in [&one, &two] {
        let store = store(&server.url(), config());
        ready(&store, client(1)).await;
        let error = ask(&both, client(1), slow(1), 1).await.unwrap_err();
        assert_eq!(error, StoreError::NoTopology);
    }
}
