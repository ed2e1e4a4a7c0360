//! `spop conform` as a user runs it: what it prints, where, and its exit status.

use std::process::Command;

use serde_json::{Value, json};
use spop_codec::{Actions, Scope};

use crate::{agent, crate_spop};

/// How a run ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `spop conform`, beside the test's agent, with more time than it needs.
async fn conform(args: &[&str]) -> Ran {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_spop"))
            .arg("conform")
            .args(args)
            .args(["--timeout", "60000"])
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The lines but the last, which counts and ends with a time.
#[track_caller]
fn without_time<'a>(stdout: &'a str, counts: &str) -> &'a str {
    let (rest, last) = stdout.trim_end().rsplit_once('\n').unwrap();
    let time = last
        .strip_prefix(counts)
        .unwrap_or_else(|| panic!("{last}"));
    let seconds = time.strip_prefix(" in ").unwrap().strip_suffix(" s");
    seconds.unwrap().parse::<f64>().unwrap();
    rest
}

fn objects(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn sound() -> String {
    let answer = |_: &_| Actions::new().set_var(Scope::Session, "ip_score", 100);
    agent::listen(answer).await.to_string()
}

#[tokio::test]
async fn a_pass() {
    let addr = sound().await;
    let ran = conform(&[&addr, "--only", "H1", "--only", "G2", "--only", "c3"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        without_time(&ran.stdout, "3 passed, 0 failed, 1 skipped"),
        "\
Handshake
  pass  H1.1   must    the HELLO of HAProxy from 3.1 on is answered with one that it accepts
  pass  H1.2   must    the HELLO of HAProxy up to 3.0 is answered with one that it accepts
Fragmentation
  skip  G2     should  fragments may be cut anywhere, inside a number or a text
                       the agent does not announce fragmentation
Health checks
  pass  C3     must    the answer to a check has all three keys, and the flag FIN alone"
    );
}

#[tokio::test]
async fn all_of_it_as_json() {
    let addr = sound().await;
    let message = ["--message", "check-rate", "--arg", "ip_src=192.0.2.7"];
    let ran = conform(&[&[addr.as_str(), "--json"], &message[..]].concat()).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let mut objects = objects(&ran.stdout);
    let mut totals = objects.pop().unwrap();
    let passed = objects.iter().filter(|case| case["outcome"] == "pass");
    let skipped = objects.iter().filter(|case| case["outcome"] == "skip");
    let (passed, skipped) = (passed.count(), skipped.count());
    assert_eq!(passed + skipped, objects.len());
    assert!(passed > 100, "{passed}");
    assert!(
        totals
            .as_object_mut()
            .unwrap()
            .remove("milliseconds")
            .is_some()
    );
    assert_eq!(
        totals,
        json!({
            "conforms": true,
            "passed": passed,
            "failed_must": 0,
            "failed_should": 0,
            "skipped": skipped,
            "survived": true,
        })
    );
    let mut first = objects.swap_remove(0);
    assert!(
        first
            .as_object_mut()
            .unwrap()
            .remove("milliseconds")
            .unwrap()
            .is_u64()
    );
    assert_eq!(
        first,
        json!({
            "case": "F1.1",
            "group": "F",
            "title": "a HELLO that comes byte by byte is answered",
            "reference": "TCP cuts a stream anywhere",
            "severity": "must",
            "outcome": "pass",
        })
    );
    assert!(
        objects
            .iter()
            .all(|case| case["outcome"] == "pass" || case["reason"].is_string())
    );
}

#[tokio::test]
async fn a_failure() {
    let addr = crate_spop::listen().await.to_string();
    // One that HAProxy relies on, and one that it does not.
    let ran = conform(&[&addr, "--only", "H2.5", "--only", "F12"]).await;
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.stderr,
        format!("spop: {addr}: 1 case failed that every agent must pass\n")
    );
    assert_eq!(
        without_time(&ran.stdout, "0 passed, 2 failed (1 must), 0 skipped"),
        "\
Framing
  FAIL  F12    should  frames of unknown types are skipped
                       expected the ACK for stream-id 1, frame-id 1
                       got the agent closed the connection without a word
                       reference SPOE.txt 3.2.2
Handshake
  FAIL  H2.5   must    a HELLO without versions is refused with status 5
                       expected AGENT-DISCONNECT with status 5 (version value not found) and the end
                       got the agent closed the connection without a word
                       reference SPOE.txt 3.2.4, 3.5"
    );

    let ran = conform(&[&addr, "--only", "F12", "--json"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let objects = objects(&ran.stdout);
    assert_eq!(objects[0]["outcome"], "fail");
    assert_eq!(
        objects[0]["expected"],
        "the ACK for stream-id 1, frame-id 1"
    );
    assert_eq!(
        objects[0]["got"],
        "the agent closed the connection without a word"
    );
    assert_eq!(objects[1]["failed_should"], 1);
    assert_eq!(objects[1]["conforms"], true);
}

#[tokio::test]
async fn an_agent_that_dies() {
    let addr = crate::broken::sound().dying_of_resets().listen().await;
    let ran = conform(&[&addr.to_string(), "--only", "H13.1", "--only", "C6"]).await;
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.stderr,
        format!("spop: {addr}: the agent did not survive the last case\n")
    );
    let cases = without_time(&ran.stdout, "0 passed, 1 failed (1 must), 0 skipped");
    assert!(!cases.contains("C6"), "{cases}");
}

#[cfg(unix)]
#[tokio::test]
async fn over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let config = spop_codec::AgentConfig::new();
            tokio::spawn(agent::serve(io, config, |_| Actions::new()));
        }
    });
    let ran = conform(&[&format!("unix:{}", path.display())]).await;
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("FAIL"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_list() {
    let ran = conform(&["--list"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(
        ran.stdout.starts_with("Framing\n  F1.1   must    a HELLO"),
        "{}",
        ran.stdout
    );
    for id in crate::all().map(|case| case.id()) {
        assert!(ran.stdout.contains(&format!("\n  {id:<5}  ")), "{id}");
    }
    let ran = conform(&["--list", "--json", "--only", "reserved flags"]).await;
    assert_eq!(
        objects(&ran.stdout),
        [json!({
            "case": "F10",
            "group": "F",
            "title": "reserved flags are ignored",
            "reference": "SPOE.txt 3.2",
            "severity": "should",
        })]
    );
}

#[tokio::test]
async fn nobody_listens() {
    let (_socket, addr) = agent::nobody();
    let addr = addr.to_string();
    let ran = conform(&[&addr]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let start = format!("spop: {addr}: cannot connect: ");
    assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[tokio::test]
async fn a_wrong_command_line() {
    for (args, explanation) in [
        (&[][..], "ADDR"),
        (&["localhost"], "expected HOST:PORT"),
        (&["localhost:1", "--only", "Q7"], "spop conform --list"),
        (&["localhost:1", "--arg", "a=1"], "--message"),
        (
            &["localhost:1", "--message", "m", "--arg", "a"],
            "NAME=VALUE",
        ),
        (&["localhost:1", "--message", ""], "value is required"),
    ] {
        let ran = conform(args).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains(explanation), "{args:?}: {}", ran.stderr);
    }
}
