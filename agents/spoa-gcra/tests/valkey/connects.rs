//! How it connects: whom it believes, as which user, and how often.

use std::time::{Duration, Instant};

use spoa_gcra::store::valkey::{Config, StoreError};
use spop_testkit::port;
use spop_testkit::valkey::Server;

use super::{PATIENCE, allowed, ask, client, config, form, ready, set_user, slow, store};

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

/// The rights that the store's documentation asks for: what it needs, and what it can do
/// without.
const NEEDED: &str =
    "on >secret ~gcra:* +info +cluster|slots +evalsha +eval +asking +get +set +time";
const USEFUL: &str = "+script|load +ping +cluster|info +client|setinfo";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_just_the_rights_that_are_documented_is_enough() {
    for cluster in ["no", "yes"] {
        for (rights, denials) in [(NEEDED, true), (&*format!("{NEEDED} {USEFUL}"), false)] {
            let bus = port::free().unwrap().to_string();
            let server = [
                "--cluster-enabled",
                cluster,
                "--cluster-port",
                &bus,
                "--cluster-require-full-coverage",
                "no",
            ];
            let server = Server::start_with(&server).await.unwrap();
            if cluster == "yes" {
                let own = server.cli(&["cluster", "addslotsrange", "0", "16383"]);
                assert_eq!(own.await.unwrap(), "OK");
            }
            set_user(&server, rights).await;
            let url = format!("redis://agent:secret@127.0.0.1:{}", server.port());
            let store = store(&url, config());
            ready(&store, client(1)).await;
            for expected in [true, false] {
                assert_eq!(allowed(&store, client(1), slow(1), 1).await, expected);
            }
            // With all of them, nothing it does is refused.
            let denied = server.cli(&["acl", "log"]).await.unwrap();
            assert_eq!(!denied.is_empty(), denials, "{denied}");

            // Without the right to read, nobody is unlimited: it is an error.
            set_user(&server, "-get").await;
            let error = ask(&store, client(1), slow(1), 1).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        }
    }
}

/// Whether this machine has an IPv6 loopback address. Says so if not.
fn has_ipv6() -> bool {
    let bound = std::net::TcpListener::bind("[::1]:0");
    if let Err(error) = &bound {
        eprintln!("not tested, there is no ::1: {error}");
    }
    bound.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_have_an_ipv6_address() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start_with(&["--bind", "127.0.0.1", "::1"]);
    let server = server.await.unwrap();
    let store = store(&format!("redis://[::1]:{}", server.port()), config());
    ready(&store, client(1)).await;
    for expected in [true, false] {
        assert_eq!(allowed(&store, client(1), slow(1), 1).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_have_ipv6_addresses() {
    if !has_ipv6() {
        return;
    }
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let bus = port::free().unwrap().to_string();
        let options = [
            &["--bind", "127.0.0.1", "::1", "--cluster-enabled", "yes"][..],
            &["--cluster-port", &bus, "--cluster-announce-ip", "::1"],
        ];
        let node = Server::start_with(&options.concat()).await.unwrap();
        nodes.push((node, bus));
    }
    form(&nodes, "::1").await;
    let store = store(&format!("redis://[::1]:{}", nodes[0].0.port()), config());
    for n in 0..60 {
        ready(&store, client(n)).await;
        assert!(allowed(&store, client(n), slow(1), 1).await);
    }
    let mut expected: Vec<String> = nodes
        .iter()
        .map(|(node, _)| format!("::1:{}", node.port()))
        .collect();
    let primaries = store.primaries();
    let mut found: Vec<&str> = primaries.iter().map(|primary| &*primary.node).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
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
