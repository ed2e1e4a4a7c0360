//! The agent as an operator starts it: what it says, and how it ends on a bad setting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Output};

use spop_testkit::agent::without_settings;

/// Runs the agent with these variables and no others of its own.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-gcra"));
    without_settings(&mut command).args(arguments);
    command.envs(settings.iter().copied());
    command.output().unwrap()
}

/// It ends with code 2 and one line that holds each of `words`, having printed nothing else.
#[track_caller]
fn refused(settings: &[(&str, &str)], words: &[&str]) {
    let output = run(&[], settings);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{settings:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{settings:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{settings:?}: no {word:?} in {said}");
    }
    assert!(output.stdout.is_empty(), "{settings:?}");
}

/// What this build does not have is said once, and is no reason not to start.
#[cfg(not(feature = "otel"))]
#[test]
fn traces_without_the_feature() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (settings, expected) in [
        (vec![endpoint], 1),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "true")], 0),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], 0),
    ] {
        let output = run(&["check"], &settings);
        assert_eq!(output.status.code(), Some(0), "{settings:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), expected, "{settings:?}: {said}");
        let told = said.contains("build with --features otel");
        assert_eq!(told, expected > 0, "{settings:?}: {said}");
    }
}

#[test]
fn numbers() {
    refused(
        &[("SPOA_RATE_INTERVAL", "fast")],
        &["SPOA_RATE_INTERVAL=\"fast\"", "1 to", "µs"],
    );
    refused(
        &[("SPOA_RATE_INTERVAL", "0")],
        &["SPOA_RATE_INTERVAL=\"0\"", "1 to"],
    );
    refused(
        &[("SPOA_RATE_INTERVAL", "-5")],
        &["SPOA_RATE_INTERVAL=\"-5\""],
    );
    refused(
        &[("SPOA_RATE_BURST", "9999")],
        &["SPOA_RATE_BURST=\"9999\"", "10000"],
    );
    refused(&[("SPOA_RATE_BURST", "1e6")], &["SPOA_RATE_BURST=\"1e6\""]);
    refused(
        &[("SPOA_RATE_TTL", "1"), ("SPOA_RATE_BURST", "2000000")],
        &["SPOA_RATE_TTL=\"1\"", "2"],
    );
    refused(
        &[("SPOA_IPV6_PREFIX", "129")],
        &["SPOA_IPV6_PREFIX=\"129\"", "128"],
    );
    refused(
        &[("TOKIO_WORKER_THREADS", "0")],
        &["TOKIO_WORKER_THREADS=\"0\""],
    );
    refused(
        &[("SPOA_DECISION_BUDGET", "0")],
        &["SPOA_DECISION_BUDGET=\"0\"", "ms"],
    );
    refused(
        &[("SPOA_MEMORY_CLIENTS", "many")],
        &["SPOA_MEMORY_CLIENTS=\"many\""],
    );
}

#[test]
fn words() {
    refused(
        &[("SPOA_FAILURE", "ajar")],
        &["SPOA_FAILURE=\"ajar\"", "local", "open", "closed"],
    );
    refused(
        &[("SPOA_TOP", "hosts")],
        &["SPOA_TOP=\"hosts\"", "off", "networks", "clients"],
    );
    refused(
        &[("SPOA_TRUSTED_PROXIES", "10.0.0.0/33")],
        &["SPOA_TRUSTED_PROXIES", "10.0.0.0/33"],
    );
    refused(
        &[("RUST_LOG", "spoa_gcra=loud")],
        &["RUST_LOG=\"spoa_gcra=loud\""],
    );
    refused(
        &[("RUST_LOG", "warning")],
        &[
            "RUST_LOG=\"warning\"",
            "off, error, warn, info, debug, trace",
        ],
    );
}

#[test]
fn addresses() {
    refused(&[("SPOE_ADDR", "9000")], &["SPOE_ADDR=\"9000\""]);
    refused(
        &[("VALKEY_NODES", "http://valkey")],
        &["VALKEY_NODES", "http"],
    );
    refused(
        &[("VALKEY_NODES", " , ")],
        &["VALKEY_NODES=\",\"", "no server is named"],
    );
    // RFC 6761: a name that never resolves.
    refused(
        &[
            ("VALKEY_NODES", "redis://u:secret@valkey.invalid:6379"),
            ("SPOE_ADDR", "127.0.0.1:0"),
        ],
        &["VALKEY_NODES=", "valkey.invalid"],
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    refused(&[("SPOE_ADDR", &addr)], &["SPOE_ADDR=", &addr, "in use"]);
    let by_name = addr.replace("127.0.0.1", "localhost");
    refused(
        &[("SPOE_ADDR", &by_name)],
        &["SPOE_ADDR=", &by_name, &addr, "in use"],
    );
    refused(
        &[("SPOE_ADDR", "nobody.invalid:9000")],
        &["SPOE_ADDR=\"nobody.invalid:9000\"", "no such name"],
    );
    // RFC 5737: nobody's address.
    refused(
        &[("SPOE_ADDR", "192.0.2.1:9000")],
        &["SPOE_ADDR=", "192.0.2.1:9000", "an address of this host"],
    );
    refused(
        &[("SPOE_ADDR", "unix@/nowhere/agent.sock")],
        &[
            "SPOE_ADDR=",
            "unix@/nowhere/agent.sock",
            "a path in a directory",
        ],
    );
    refused(
        &[("SPOE_ADDR", "unix@/etc/passwd")],
        &["SPOE_ADDR=", "/etc/passwd exists and is not a socket"],
    );
    refused(
        &[("SPOE_ADDR", "fd@spop")],
        &["SPOE_ADDR=\"fd@spop\"", "was not passed", "socket unit"],
    );
    refused(
        &[("SPOE_ADDR", "udp@127.0.0.1:9000")],
        &["SPOE_ADDR=", "unix@PATH", "fd@NAME"],
    );
    refused(
        &[("SPOA_ADMIN_ADDR", "9001")],
        &["SPOA_ADMIN_ADDR=\"9001\"", "off"],
    );
    refused(
        &[("SPOE_ADDR", "127.0.0.1:0"), ("SPOA_ADMIN_ADDR", &addr)],
        &["SPOA_ADMIN_ADDR=", &addr, "in use", "off"],
    );
}

#[test]
fn passwords_are_never_shown() {
    for nodes in [
        "redis://u:secret@valkey.invalid:6379",
        "ftp://u:secret@host",
        "redis://u:secret@h:x",
    ] {
        let output = run(
            &[],
            &[("VALKEY_NODES", nodes), ("SPOE_ADDR", "127.0.0.1:0")],
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn credentials_and_certificates() {
    let nodes = ("VALKEY_NODES", "127.0.0.1:1");
    let password = ("VALKEY_PASSWORD", "secret");
    let file = ("VALKEY_PASSWORD_FILE", "/nowhere/password");
    refused(
        &[nodes, file],
        &["VALKEY_PASSWORD_FILE=\"/nowhere/password\"", "No such file"],
    );
    let in_url = ("VALKEY_NODES", "valkey://:other@127.0.0.1:1");
    refused(
        &[in_url, password],
        &["VALKEY_PASSWORD=\"***\"", "valkey://127.0.0.1:1"],
    );
    refused(
        &[
            nodes,
            (
                "VALKEY_CA_FILE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ),
        ],
        &["VALKEY_CA_FILE=", "valkey://127.0.0.1:1", "valkeys://"],
    );

    let output = run(&["check"], &[nodes, password, ("VALKEY_USERNAME", "ann")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(said.contains("VALKEY_USERNAME       ann\n"), "{said}");
    assert!(said.contains("VALKEY_PASSWORD       set\n"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn check_prints_what_would_be_in_force() {
    let output = run(&["check"], &[("SPOA_RATE_INTERVAL", "20000")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(said.contains("20000 µs = 50 req/s"), "{said}");
    assert!(said.contains("200000 µs = 10 req at once"), "{said}");
    assert_eq!(
        run(&["check"], &[("SPOA_RATE_TTL", "x")]).status.code(),
        Some(2)
    );
}

#[test]
fn misspelt_variables_are_told() {
    let settings = [("SPOA_RATE_INTERVALL", "1"), ("VALKEY_NODE", "a:1")];
    let output = run(&["check"], &settings);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    for (name, _) in settings {
        let told = format!("{name} is set but is no setting of spoa-gcra; see spoa-gcra --help");
        assert!(said.contains(&told), "{said}");
    }
}

/// One file of variables may be HAProxy's and the agent's.
#[test]
fn what_the_shipped_haproxy_files_read_is_not_misspelt() {
    let files = concat!(
        include_str!("../../../deploy/haproxy/haproxy.cfg"),
        include_str!("../../../deploy/haproxy/spoe-rate-limit.conf"),
    );
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = files.split(|c| !of_a_name(c));
    let settings: BTreeMap<&str, &str> = names
        .filter(|name| name.starts_with("SPOE_"))
        .map(|name| (name, "1"))
        .collect();
    assert!(settings.contains_key("SPOE_AGENT_2") && settings.contains_key("SPOE_TIMEOUT"));
    let output = run(&["check"], &settings.into_iter().collect::<Vec<_>>());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn variables_about_valkey_without_one_are_told() {
    let settings = [
        ("VALKEY_NODES", ""),
        ("VALKEY_USERNAME", "ann"),
        ("VALKEY_PASSWORD", "secret"),
        ("VALKEY_PASSWORD_FILE", "/nowhere/password"),
        ("VALKEY_CA_FILE", "/nowhere/ca.pem"),
        ("VALKEY_CERT_FILE", "/nowhere/cert.pem"),
        ("VALKEY_KEY_FILE", "/nowhere/key.pem"),
    ];
    let output = run(&["check"], &settings);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().count(), settings.len() - 1, "{said}");
    assert!(!said.contains("secret"), "{said}");
    for (line, (name, _)) in said.lines().zip(&settings[1..]) {
        let told = format!("{name} is set but changes nothing: VALKEY_NODES is not set");
        assert!(line.contains(&told), "{said}");
    }
}

fn policies(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn the_example_of_policies_is_a_good_one() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/policies.example.toml");
    for (arguments, settings) in [
        (vec!["check"], vec![("SPOA_CONFIG", example)]),
        (vec!["check", "--config", example], vec![]),
        (
            vec!["--config", example, "check"],
            vec![("SPOA_CONFIG", "/nowhere")],
        ),
    ] {
        let output = run(&arguments, &settings);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            said.contains("\npolicies:\n  api       10 req/s, 200 at once;"),
            "{said}"
        );
    }
}

#[test]
fn every_problem_of_the_policies_is_a_line() {
    let file = policies("[policy.a]\nrate = '5'\nburst = 1\n[policy.b]\nburst = 1\n");
    let path = file.path().to_str().unwrap();
    for arguments in [&["check"][..], &["run"], &[]] {
        let output = run(
            arguments,
            &[("SPOA_CONFIG", path), ("SPOE_ADDR", "127.0.0.1:0")],
        );
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let lines: Vec<_> = said.lines().collect();
        let [one, other] = &lines[..] else {
            panic!("{said}");
        };
        let begin = format!("spoa-gcra: {path}:2: policy \"a\": rate = \"5\": not a rate");
        assert!(one.starts_with(&begin), "{one}");
        assert_eq!(
            *other,
            format!("spoa-gcra: {path}:5: policy \"b\": rate is missing")
        );
        assert!(output.stdout.is_empty());
    }
    refused(
        &[("SPOA_CONFIG", "/nowhere/policies.toml")],
        &["/nowhere/policies.toml: cannot be read: No such file"],
    );
}

#[test]
fn help_lists_every_setting() {
    let output = run(&["--help"], &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    for setting in spoa_gcra::settings::TABLE {
        assert!(said.contains(setting.name), "no {} in {said}", setting.name);
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(&spoa_gcra::settings::markdown_table()));
}

/// After a change: `cargo test -p spoa-gcra --test settings -- --nocapture` prints what
/// belongs there.
#[test]
fn systemds_file_has_every_setting() {
    let shipped = include_str!("../../../deploy/systemd/spoa-gcra.env");
    let made = spoa_gcra::settings::environment_file();
    if shipped != made {
        println!("{made}");
    }
    assert!(
        shipped == made,
        "deploy/systemd/spoa-gcra.env is out of date"
    );
}
