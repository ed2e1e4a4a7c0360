//! `spoa-gcra print-haproxy-config` and `check --reach`, as far as no HAProxy and no Valkey is
//! needed for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

const COMMAND: &str = "print-haproxy-config";

fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-gcra"));
    command.env_clear().args(arguments);
    command.envs(settings.iter().copied());
    command.output().unwrap()
}

fn printed(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = run(&[&[COMMAND], arguments].concat(), settings);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One line, exit code 2, nothing printed.
fn refused(arguments: &[&str], settings: &[(&str, &str)], said: &str) {
    let output = run(&[&[COMMAND], arguments].concat(), settings);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("spoa-gcra: "), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// What HAProxy reads of a file: no comments, and white space as single spaces.
fn directives(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = text.lines().map(words);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The shipped file without any of its settings set: their defaults, and of what asks for one
/// that is not set the other half.
fn without_settings(shipped: &str) -> Vec<String> {
    let mut values = HashMap::new();
    // Whether the lines within each `.if` count. Questions for the version stay.
    let mut within: Vec<Option<bool>> = Vec::new();
    let mut kept = Vec::new();
    for line in directives(shipped) {
        let word = line.split(' ').next().unwrap();
        let about_settings = match word {
            ".if" => {
                within.push(line.starts_with(".if strneq(").then_some(false));
                *within.last().unwrap()
            }
            ".else" => {
                let last = within.last_mut().unwrap();
                *last = last.map(|counts| !counts);
                *last
            }
            ".endif" => within.pop().unwrap(),
            _ => None,
        };
        if about_settings.is_some() || within.contains(&Some(false)) {
            continue;
        }
        if word == "presetenv" {
            let words: Vec<&str> = line.split(' ').collect();
            values.insert(format!("\"${}\"", words[1]), words[2].to_owned());
            continue;
        }
        let line = values.iter().fold(line, |line, (name, value)| {
            let ends = line.clone() + " ";
            let replaced = ends.replace(&format!("{name} "), &format!("{value} "));
            replaced.trim_end().to_owned()
        });
        kept.push(line.replace("\"${SPOE_TIMEOUT-15ms}\"", "15ms"));
    }
    kept
}

#[test]
fn it_agrees_with_the_shipped_files() {
    let options = ["--agent=spoe-agent:9000", "--web=web:80"];
    let part = |part: &str| directives(&printed(&[&options[..], &["--part", part]].concat(), &[]));

    let shipped = include_str!("../../../deploy/haproxy/haproxy.cfg");
    let shipped = without_settings(shipped);
    assert!(shipped.len() > 40, "{shipped:#?}");
    let mut own = part("haproxy");
    // The shipped one is for containers, too.
    let stats = own.iter_mut().find(|line| *line == "bind 127.0.0.1:8404");
    *stats.unwrap() = "bind :8404".to_owned();
    assert_eq!(own, shipped);

    let shipped = include_str!("../../../deploy/haproxy/spoe-rate-limit.conf");
    let mut own = part("spoe");
    own.retain(|line| !line.starts_with("register-var-names "));
    assert_eq!(own, without_settings(shipped));
}

#[test]
fn the_version_says_which_half_it_gets() {
    let old = printed(&["--haproxy", "2.6"], &[]);
    for line in ["mode    tcp\n", "on-marked-down", "timeout hello"] {
        assert!(old.contains(line), "{old}");
    }
    assert!(!old.contains("spop\n") && !old.contains(".if"), "{old}");
    let new = printed(&["--haproxy", "3.4"], &[]);
    for line in ["mode    tcp\n", "on-marked-down", "timeout hello", ".if"] {
        assert!(!new.contains(line), "{new}");
    }
    assert!(new.contains("mode    spop\n"), "{new}");
}

#[test]
fn times_follow_the_settings() {
    let settings = [
        ("SPOA_DECISION_BUDGET", "20"),
        ("SPOA_LAME_DUCK", "15000"),
        ("SPOE_ADDR", "0.0.0.0:9010"),
    ];
    let files = printed(&[], &settings);
    for line in [
        "timeout processing 27ms\n",
        "SPOA_LAME_DUCK, 15000 ms",
        "server agent1 127.0.0.1:9010\n",
    ] {
        assert!(files.contains(line), "{files}");
    }
    assert!(printed(&[], &[]).contains("Set SPOA_LAME_DUCK=12000 "));
    let many = printed(&["--agent", "a:1", "--agent", "unix@/run/b"], &[]);
    assert!(
        many.contains("    server agent1 a:1\n    server agent2 unix@/run/b\n"),
        "{many}"
    );
    // No placeholder is left.
    let placeholder = |word: &str| word.starts_with('@') || word.ends_with('@');
    assert!(!files.split_whitespace().any(placeholder), "{files}");
}

fn unix_path(len: usize) -> String {
    format!("unix@/{}", "x".repeat(len - 1))
}

#[test]
fn mistakes_are_one_line() {
    refused(&["--haproxy", "3.9"], &[], "accepted: 2.6 to 3.4");
    refused(&["--prefix", "a-b"], &[], "accepted: 1 to 32 letters");
    refused(&["--agent", "nowhere"], &[], "no port");
    refused(&["--bind", ":80 ssl"], &[], "--bind");
    for option in ["--agent", "--web", "--bind"] {
        printed(&[option, &unix_path(97)], &[]);
        refused(&[option, &unix_path(98)], &[], "at most 97 bytes");
    }
    refused(&[], &[("SPOE_ADDR", &unix_path(98))], "at most 97 bytes");
    refused(&[], &[("SPOE_ADDR", &unix_path(108))], "too long");
    refused(&["--fail", "maybe"], &[], "open, closed");
    refused(&["--path", "nobody=/x"], &[], "there are: none");
    refused(&[], &[("SPOE_ADDR", "fd@spop")], "--agent 127.0.0.1:9000");
    refused(
        &[],
        &[("SPOA_DECISION_BUDGET", "x")],
        "SPOA_DECISION_BUDGET",
    );
    refused(&["--config", "/nowhere/p.toml"], &[], "cannot be read");
}

#[test]
fn a_path_that_haproxy_does_not_take_is_told() {
    for (len, code, said) in [
        (97, 0, ""),
        (98, 0, "HAProxy will not connect to unix@/xxx"),
        (107, 0, "HAProxy will not connect to unix@/xxx"),
        (108, 2, "too long for the path of a Unix socket"),
    ] {
        let output = run(&["check"], &[("SPOE_ADDR", &unix_path(len))]);
        assert_eq!(output.status.code(), Some(code), "{len}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said), "{len}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(!said.is_empty()));
    }
}

#[test]
fn files_that_are_there_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let spoe = dir.path().join("spoe-rate-limit.conf");
    fs::write(&spoe, "mine").unwrap();
    refused(&["--output", path], &[], "spoe-rate-limit.conf: ");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::remove_file(&spoe).unwrap();
    assert_eq!(printed(&["--output", path], &[]), "");
    let part = |part| printed(&["--part", part], &[]);
    let written = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(written("haproxy.cfg"), part("haproxy"));
    assert_eq!(written("spoe-rate-limit.conf"), part("spoe"));
}

#[test]
fn a_guess_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policies.toml");
    let text = "[policy.login]\nmessages = ['check-login']\nrate = '1/s'\nburst = 1\n";
    fs::write(&file, text).unwrap();
    let config = ("SPOA_CONFIG", file.to_str().unwrap());
    let output = run(&[COMMAND], &[config]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--path check-login=/PATH"), "{said}");
    let files = printed(&["--path", "check-login=/sign-in"], &[config]);
    assert!(
        files.contains(
            "    acl claimed path_beg /sign-in\n    event on-frontend-http-request unless claimed\n"
        ),
        "{files}"
    );
    assert!(!files.contains("guess"), "{files}");
}

#[test]
fn check_says_what_is_out_of_reach() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let off = ("SPOA_ADMIN_ADDR", "off");
    let free = ("SPOE_ADDR", "127.0.0.1:0");
    let reach = |settings: &[(&str, &str)]| {
        let output = run(&["check", "--reach"], settings);
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };

    let (code, said) = reach(&[off, free]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("reach:\n  SPOE_ADDR 127.0.0.1:0: can be listened on\n"));

    let (code, said) = reach(&[off, ("SPOE_ADDR", &addr)]);
    assert_eq!(code, Some(1), "{said}");
    let line = format!("SPOE_ADDR {addr}: OUT OF REACH: {addr} is in use");
    assert!(said.contains(&line), "{said}");

    let (code, said) = reach(&[
        free,
        ("SPOA_ADMIN_ADDR", &addr),
        ("VALKEY_NODES", "127.0.0.1:1"),
    ]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.matches("OUT OF REACH").count(), 2, "{said}");
    assert_eq!(
        run(&["check", "--reach"], &[("SPOE_ADDR", "x")])
            .status
            .code(),
        Some(2)
    );
}
