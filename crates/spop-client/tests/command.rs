//! The `spop` command as a user runs it: what it prints, where, and its exit status.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;

use std::process::Command;

use serde_json::{Value, json};
use spop_codec::{Actions, Notify, Scope};

/// How a run ended.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `spop` with more time than it needs, so that a slow machine changes nothing.
async fn patient(args: &[&str]) -> Run {
    spop(&[args, &["--timeout", "60000"]].concat()).await
}

/// Runs `spop` beside the test's agent.
async fn spop(args: &[&str]) -> Run {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_spop"))
            .args(args)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `score` is 100 for the message `check-rate` with 192.0.2.7, else 0.
fn answer(notify: &Notify) -> Actions {
    let Some(message) = notify.messages().next() else {
        return Actions::new();
    };
    let ip = message.arg("ip_src").and_then(|ip| ip.to_ip());
    let denied = message.name() == "check-rate" && ip == Some([192, 0, 2, 7].into());
    Actions::new()
        .set_var(Scope::Session, "ip_score", if denied { 100 } else { 0 })
        .set_var(Scope::Transaction, "allowed", !denied)
        .unset_var(Scope::Transaction, "reason")
}

/// Splits the last line off, which must be "`head` 1.234 ms": times differ.
#[track_caller]
fn without_time<'a>(stdout: &'a str, head: &str) -> &'a str {
    let (rest, last) = match stdout.trim_end().rsplit_once('\n') {
        Some((rest, last)) => (rest, last),
        None => ("", stdout.trim_end()),
    };
    let time = last.strip_prefix(head);
    assert!(time.is_some(), "{last}");
    let time = time.unwrap();
    let number = time.trim_start().strip_suffix(" ms").unwrap();
    number.parse::<f64>().unwrap();
    rest
}

#[tokio::test]
async fn ping() {
    let addr = agent::listen(answer).await.to_string();
    let run = patient(&["ping", &addr]).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let (first, rest) = run.stdout.split_once('\n').unwrap();
    without_time(first, &format!("{addr} is healthy, it answered after"));
    assert_eq!(
        rest,
        "  version         2.0\n  \
           max-frame-size  16380 bytes\n  \
           capabilities    none\n  \
           connection      closed by the agent\n"
    );
}

#[tokio::test]
async fn notify() {
    let addr = agent::listen(answer).await.to_string();
    let run = patient(&["notify", &addr, "check-rate", "ip_src=192.0.2.7"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        without_time(&run.stdout, "3 actions after"),
        "set-var sess.ip_score = 100 (INT32)\n\
         set-var txn.allowed = false (BOOL)\n\
         unset-var txn.reason"
    );

    // The address as text is not the address.
    let typed = ["notify", &addr, "check-rate", "ip_src:str=192.0.2.7"];
    let run = patient(&typed).await;
    assert!(
        run.stdout
            .starts_with("set-var sess.ip_score = 0 (INT32)\n"),
        "{}",
        run.stdout
    );
}

#[tokio::test]
async fn notify_without_actions() {
    let addr = agent::listen(|_| Actions::new()).await.to_string();
    let run = patient(&["notify", &addr, "m"]).await;
    assert_eq!(run.code, Some(0));
    assert_eq!(without_time(&run.stdout, "0 actions after"), "");
}

#[tokio::test]
async fn notify_json_repeated() {
    let addr = agent::listen(answer).await.to_string();
    let args = ["notify", &addr, "check-rate", "ip_src=192.0.2.7", "--json"];
    let run = patient(&[&args[..], &["--repeat", "3"]].concat()).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let mut objects: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 3);
    for (object, stream_id) in objects.iter_mut().zip([1, 3, 5]) {
        let time = object.as_object_mut().unwrap().remove("microseconds");
        assert!(time.unwrap().is_u64());
        assert_eq!(
            *object,
            json!({
                "stream_id": stream_id,
                "frame_id": 1,
                "actions": [
                    {"action": "set-var", "scope": "sess", "name": "ip_score",
                     "type": "INT32", "value": 100},
                    {"action": "set-var", "scope": "txn", "name": "allowed",
                     "type": "BOOL", "value": false},
                    {"action": "unset-var", "scope": "txn", "name": "reason"},
                ],
            })
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(agent::serve(io, spop_codec::AgentConfig::new(), answer));
        }
    });
    let addr = format!("unix:{}", path.display());
    for args in [&["ping", &addr][..], &["notify", &addr, "m"]] {
        let run = patient(args).await;
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let (_socket, addr) = agent::nobody();
    let addr = addr.to_string();
    for args in [&["ping", &addr][..], &["notify", &addr, "m", "--json"]] {
        let run = spop(args).await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        let start = format!("spop: {addr}: cannot connect: ");
        assert!(run.stderr.starts_with(&start), "{}", run.stderr);
        let end = "; is an agent listening there?\n";
        assert!(run.stderr.ends_with(end), "{}", run.stderr);
    }
}

#[tokio::test]
async fn an_agent_that_never_answers() {
    // The kernel accepts; nobody else does.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for args in [&["ping", &addr][..], &["notify", &addr, "m"]] {
        let run = spop(&[args, &["--timeout", "50"]].concat()).await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert_eq!(
            run.stderr,
            format!("spop: {addr}: no AGENT-HELLO within 50 ms\n")
        );
    }
}

#[tokio::test]
async fn a_wrong_command_line() {
    for (args, explanation) in [
        (&["ping"][..], "ADDR"),
        (&["ping", "localhost"], "expected HOST:PORT"),
        (&["ping", "localhost:0"], "`0` is not a port"),
        (&["ping", "localhost:1", "--timeout", "0"], "1..=86400000"),
        (&["notify", "localhost:1"], "MESSAGE"),
        (&["notify", "localhost:1", ""], "value is required"),
        (&["notify", "localhost:1", "m", "a"], "NAME=VALUE"),
        (
            &["notify", "localhost:1", "m", "a:int=x"],
            "`x` is not an integer",
        ),
        (&["notify", "localhost:1", "m", "--repeat", "0"], "--repeat"),
        (&["conjure"], "conjure"),
    ] {
        let run = spop(args).await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.contains(explanation), "{args:?}: {}", run.stderr);
    }
    let many = [&["notify", "localhost:1", "m"][..], &["a=1"; 256]].concat();
    assert_eq!(spop(&many).await.code, Some(2));
}

#[tokio::test]
async fn help() {
    let run = spop(&["--help"]).await;
    assert_eq!(run.code, Some(0));
    for word in ["ping", "notify", "Examples:", "Exit status:"] {
        assert!(run.stdout.contains(word), "{word}");
    }
    for command in ["ping", "notify"] {
        let run = spop(&[command, "--help"]).await;
        assert_eq!(run.code, Some(0));
        assert!(
            run.stdout
                .contains(&format!("spop {command} 127.0.0.1:9000"))
        );
    }
}
