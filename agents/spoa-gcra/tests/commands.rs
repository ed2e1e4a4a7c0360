//! What the commands print that other programs read: completions, the manual page, settings.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

const AGENT: &str = env!("CARGO_BIN_EXE_spoa-gcra");

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(AGENT).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for word in ["healthcheck", "completions", "--config", "--addr"] {
            let word = word.trim_start_matches("--");
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let unknown = Command::new(AGENT).args(["completions", "csh"]).output();
    assert_eq!(unknown.unwrap().status.code(), Some(2));
}

/// bash itself completes with them.
#[test]
fn bash_completes() {
    let mut script = printed(&["completions", "bash"]);
    script.push_str(
        "\nCOMP_WORDS=(spoa-gcra health) COMP_CWORD=1\n\
         _spoa__gcra spoa-gcra health spoa-gcra\n\
         echo \"${COMPREPLY[*]}\"\n",
    );
    let mut bash = Command::new("bash");
    bash.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut bash = bash.spawn().unwrap();
    let mut input = bash.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "healthcheck\n");
}

#[test]
fn the_manual_page_has_every_setting_and_command() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH spoa-gcra 1"), "{page}");
    let plain = page.replace('\\', "");
    for setting in spoa_gcra::settings::TABLE {
        assert!(plain.contains(setting.name), "no {}", setting.name);
    }
    for command in [
        "run",
        "check",
        "healthcheck",
        "print-config",
        "print-haproxy-config",
        "completions",
        "man",
    ] {
        assert!(plain.contains(&format!("fB{command}fR")), "no {command}");
    }
    for option in ["--addr", "--reach", "--haproxy"] {
        assert!(plain.contains(option), "{plain}");
    }
}

#[test]
fn all_settings_and_an_example_of_policies_are_printed() {
    let settings = printed(&["print-config"]);
    assert_eq!(settings, spoa_gcra::settings::environment_file());
    let policies = printed(&["print-config", "--policies"]);
    assert_eq!(policies, include_str!("../policies.example.toml"));
}

#[test]
fn what_nobody_can_mean_is_one_line_and_exit_code_2() {
    for (arguments, expected) in [
        (
            &["healthchek"][..],
            "unrecognized subcommand 'healthchek'; a similar subcommand exists: 'healthcheck'",
        ),
        (
            &["check", "--reech"],
            "unexpected argument '--reech' found; a similar argument exists: '--reach'",
        ),
        (
            &["--nonsense"],
            "unexpected argument '--nonsense' found; see spoa-gcra --help",
        ),
        (
            &["completions"],
            "the following required arguments were not provided: <SHELL>",
        ),
    ] {
        let output = Command::new(AGENT).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said, format!("spoa-gcra: {expected}\n"));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for arguments in [
        &["man"][..],
        &["completions", "bash"],
        &["print-config"],
        &["print-haproxy-config"],
        &["check"],
    ] {
        let mut command = Command::new(AGENT);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn what_cannot_be_printed_is_one_line() {
    for arguments in [&["man"][..], &["print-config"], &["check"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(AGENT).args(arguments).stdout(full).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("spoa-gcra: cannot print it: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// Cargo.toml names files for the Debian package; what is built is not there yet.
#[test]
fn what_the_package_holds_is_there() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut sources = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        if !source.starts_with("target/release/") {
            sources.push(source.to_owned());
        }
    }
    let units = deb["maintainer-scripts"].as_str().unwrap();
    for unit in ["service", "socket"] {
        sources.push(format!("{units}/spoa-gcra.{unit}"));
    }
    for source in sources {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&source);
        assert!(path.is_file(), "no {source}");
    }
}
