//! `reach`, on which `spoa-gcra check --reach` is built, against real servers.

use spoa_gcra::reach;
use spoa_gcra::settings::Settings;
use spop_testkit::valkey::Server;

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
    let nodes = format!("{},valkey://127.0.0.1:1", server.url());
    let found = findings(&[("VALKEY_NODES", &nodes)]).await;
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    let good: Vec<bool> = found.iter().map(reach::Finding::is_good).collect();
    assert_eq!(good, [true, true, false], "{lines:#?}");
    assert!(lines[1].contains(": answered in "), "{lines:#?}");
    assert!(
        lines[2].contains("OUT OF REACH: Connection refused"),
        "{lines:#?}"
    );

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

#[tokio::test]
async fn the_right_to_ping_is_not_needed() {
    let server = Server::start().await.unwrap();
    let rights = ["acl", "setuser", "ann", "on", ">secret", "+info"];
    server.cli(&rights).await.unwrap();
    let url = server.url();
    let settings = [
        ("VALKEY_NODES", &*url),
        ("VALKEY_USERNAME", "ann"),
        ("VALKEY_PASSWORD", "secret"),
    ];
    let found = findings(&settings).await;
    assert!(found[1].is_good(), "{}", found[1]);
}
