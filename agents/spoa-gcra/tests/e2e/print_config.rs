//! `spoa-gcra print-haproxy-config`: every HAProxy takes what it prints without a warning, and
//! limits requests by it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use spop_testkit::agent::{Agent, without_settings};
use spop_testkit::haproxy;
use spop_testkit::http::{Client, Response};
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;
use tempfile::TempDir;

use crate::site::{SLOW, agent, client, limited};

/// Two messages, of which one is for a part of the other's paths, and a policy to be asked for.
const POLICIES: &str = r#"
[policy.default]
rate = "1/m"
burst = 4

[policy.login]
messages = ["check-login"]
rate = "1/m"
burst = 2

[policy.sms]
messages = ["check-sms"]
rate = "1/m"
burst = 1

[policy.api]
rate = "1/m"
burst = 3
"#;

/// As many messages as a policy may claim, under names of every length there may be: each is
/// for a part of the paths of those before it.
fn crowd() -> String {
    let names: Vec<String> = (1..=64).map(|length| "a".repeat(length)).collect();
    format!(
        "[policy.default]\nrate = '1/m'\nburst = 4\n[policy.crowd]\nmessages = {names:?}\nrate = '1/m'\nburst = 2\n"
    )
}

const PATHS: [&str; 2] = ["--path=check-sms=/login/sms", "--path=api=/api/"];

fn print(arguments: &[&str], policies: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-gcra"));
    without_settings(&mut command);
    // `timeout processing` follows it: what is answered is the question here, not how fast a
    // busy machine does it.
    command.env("SPOA_DECISION_BUDGET", "1000");
    if let Some(policies) = policies {
        command.env("SPOA_CONFIG", policies);
    }
    command.arg("print-haproxy-config").args(arguments);
    command.output().unwrap()
}

/// The options for each kind of output: without a version, and for the one at hand if the
/// command knows it.
fn versions(haproxy: &Haproxy) -> Vec<Vec<String>> {
    let own = format!("--haproxy={}", haproxy.version());
    let mut versions = vec![vec![]];
    match print(&[&own], None).status.code() {
        Some(0) => versions.push(vec![own]),
        code => {
            // Debian's development suites may have a later one.
            assert_eq!(code, Some(2));
            assert!(!haproxy.version().starts_with("2."), "{own}");
        }
    }
    versions
}

/// Writes the files, has HAProxy check them, and returns both.
fn checked(haproxy: &Haproxy, arguments: &[&str], policies: Option<&Path>) -> [String; 2] {
    let dir = TempDir::with_prefix("print-config-").unwrap();
    let output = format!("--output={}", dir.path().display());
    let arguments = [arguments, &[&output]].concat();
    let printed = print(&arguments, policies);
    assert!(printed.status.success(), "{printed:?}");
    let config = dir.path().join("haproxy.cfg");
    let mut check = haproxy.program().command();
    check.args(["-c", "-dW", "-f"]).arg(&config);
    let said = check.output().unwrap();
    assert!(
        said.status.success(),
        "HAProxy {} with {arguments:?}: {}",
        haproxy.version(),
        String::from_utf8_lossy(&said.stderr)
    );
    [config, dir.path().join("spoe-rate-limit.conf")].map(|path| fs::read_to_string(path).unwrap())
}

#[test]
fn every_version_takes_it() {
    let dir = TempDir::with_prefix("policies-").unwrap();
    let file = dir.path().join("policies.toml");
    fs::write(&file, POLICIES).unwrap();
    let crowded = dir.path().join("crowded.toml");
    fs::write(&crowded, crowd()).unwrap();
    for haproxy in Haproxy::all().unwrap() {
        for version in versions(&haproxy) {
            let version: Vec<&str> = version.iter().map(String::as_str).collect();
            checked(&haproxy, &version, None);
            let many = [
                "--agent=127.0.0.1:9000",
                "--agent=[::1]:9000",
                "--agent=unix@/run/agent.sock",
                "--agent=abns@agent",
                "--bind=*:8080",
                "--web=192.0.2.1:80",
                "--prefix=limit",
                "--fail=closed",
            ];
            checked(&haproxy, &[&version[..], &many].concat(), None);
            checked(&haproxy, &[&version[..], &PATHS].concat(), Some(&file));
            checked(&haproxy, &version, Some(&crowded));
            for bind in [
                "127.0.0.1:8080",
                "[::1]:8080",
                "localhost:8080",
                "unix:/tmp/http.sock",
                "abns@http",
            ] {
                let bind = format!("--bind={bind}");
                checked(&haproxy, &[&version[..], &[&bind]].concat(), None);
            }
        }
    }
}

/// HAProxy with what was printed, but for the addresses that it listens on.
async fn start(haproxy: &Haproxy, arguments: &[&str], policies: Option<&Path>) -> haproxy::Server {
    let [config, spoe] = checked(haproxy, arguments, policies);
    for bind in ["bind :80\n", "bind 127.0.0.1:8404\n"] {
        assert!(config.contains(bind), "{config}");
    }
    let config = config
        .replace("bind :80\n", "bind \"$HTTP_BIND\"\n")
        .replace("bind 127.0.0.1:8404\n", "bind \"$STATS_BIND\"\n");
    let files = [("haproxy.cfg", &*config), ("spoe-rate-limit.conf", &*spoe)];
    haproxy::Server::start_with(haproxy, &files).await.unwrap()
}

fn addresses(agent: &Agent, web: &Web) -> [String; 2] {
    [
        format!("--agent={}", agent.addr()),
        format!("--web={}", web.addr()),
    ]
}

async fn get(haproxy: &haproxy::Server, client: &Client, path: &str) -> Response {
    client.get(haproxy.url() + path).send().await.unwrap()
}

async fn statuses(
    haproxy: &haproxy::Server,
    client: &Client,
    path: &str,
    count: usize,
) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(haproxy, client, path).await.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_limits_by_it() {
    for haproxy in Haproxy::all().unwrap() {
        for version in versions(&haproxy) {
            let agent = agent(&SLOW).start().await.unwrap();
            let web = Web::start().await.unwrap();
            let [at, web_at] = addresses(&agent, &web);
            let mut arguments: Vec<&str> = version.iter().map(String::as_str).collect();
            arguments.extend([&*at, &web_at, "--prefix=limit", "--fail=closed"]);
            let server = start(&haproxy, &arguments, None).await;
            let client = client(2);
            assert_eq!(statuses(&server, &client, "", 6).await, limited(6));
            let denied = get(&server, &client, "").await;
            let wait: u64 = denied.header("Retry-After").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            let left = denied.header("RateLimit").unwrap();
            assert!(left.starts_with("\"default\";r=0;t="), "{left}");
            let policy = denied.header("RateLimit-Policy");
            assert_eq!(policy, Some("\"default\";q=5;w=300"));
            agent.kill();
            // Closed: nobody is left to ask.
            assert_eq!(get(&server, &client, "").await.status, 503);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_under_its_policy() {
    let dir = TempDir::with_prefix("policies-").unwrap();
    let file = dir.path().join("policies.toml");
    fs::write(&file, POLICIES).unwrap();
    for haproxy in Haproxy::all().unwrap() {
        let agent = agent(&[]).set("SPOA_CONFIG", file.display());
        let agent = agent.start().await.unwrap();
        let web = Web::start().await.unwrap();
        let [at, web_at] = addresses(&agent, &web);
        let arguments = [&[&*at, &*web_at], &PATHS[..]].concat();
        let server = start(&haproxy, &arguments, Some(&file)).await;
        let client = client(2);
        // Each has a state of its own, and those for a part of another's paths come first: they
        // must not count for it. The path of check-login is a guess from its name.
        for (path, passed, policy) in [
            ("login/sms?to=me", 1, "sms"),
            ("login", 2, "login"),
            ("api/things", 3, "api"),
            ("", 4, "default"),
        ] {
            let mut expected = vec![200; passed];
            expected.push(429);
            let path_statuses = statuses(&server, &client, path, passed + 1).await;
            assert_eq!(path_statuses, expected, "/{path}");
            let denied = get(&server, &client, path).await;
            assert!(denied.header("Retry-After").is_some());
            let left = denied.header("RateLimit").unwrap();
            assert!(left.starts_with(&format!("\"{policy}\";r=0")), "{left}");
        }
        // What is left is `default`'s.
        assert_eq!(get(&server, &client, "about").await.status, 429);
    }
}
