//! The configuration for Valkey that ships in `deploy/valkey`.

use spop_testkit::valkey::Server;

use super::{allowed, client, config, ready, slow, store};

const CONF: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/valkey/valkey.conf"
);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_it_and_limits() {
    let server = Server::start_with(&["--cluster-enabled", "no", "--include", CONF])
        .await
        .unwrap();
    let text = std::fs::read_to_string(CONF).unwrap();
    let settings = text.lines().filter(|line| !line.starts_with('#'));
    let mut seen = 0;
    for line in settings.filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(' ').unwrap();
        let got = server.cli(&["config", "get", name]).await.unwrap();
        let got = got.lines().nth(1).unwrap_or_default();
        assert_eq!(got, value.trim_matches('"'), "{name}");
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");

    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    assert!(allowed(&store, client(1), slow(1), 1).await);
    assert!(!allowed(&store, client(1), slow(1), 1).await);
}
