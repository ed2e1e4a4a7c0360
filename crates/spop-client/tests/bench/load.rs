//! Against a sound agent: what it is asked, and what is counted and measured.

use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use spop_codec::{Actions, AgentConfig, Notify, Scope};
use tokio::net::TcpListener;

use super::{BRIEF, PATIENT, Run, adds_up, agent, bench, count};

fn score(_: &Notify) -> Actions {
    Actions::new().set_var(Scope::Session, "ip_score", 0)
}

#[tokio::test]
async fn a_closed_loop() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let addr = agent::listen(|notify| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        score(notify)
    });
    let args = ["--connections", "3", "--window", "4", "--threads", "2"];
    let pid = std::process::id().to_string();
    let pid = [
        "--pid",
        &pid,
        "--json",
        "--duration",
        "1s",
        "--warmup",
        "20ms",
    ];
    let args = [&args[..], &pid, &PATIENT].concat();
    let run = bench(addr.await, &args).await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let mut summary = run.json();
    let sent = count(&summary, "sent");
    assert!(sent >= 12, "{sent}");
    assert_eq!(sent, ASKED.load(Ordering::Relaxed));
    assert_eq!(sent, count(&summary, "answered"));
    let measured = summary["measured"].take();
    for (name, value) in [
        ("connections", json!(3)),
        ("window", json!(4)),
        ("threads", json!(2)),
        ("rate", Value::Null),
        ("message", json!("check-rate")),
        ("interrupted", json!(false)),
        ("late", json!(0)),
        ("missing", json!(0)),
        ("unexpected", json!(0)),
        ("without_actions", json!(0)),
        ("unsent", json!(0)),
        ("failures", json!([])),
    ] {
        assert_eq!(summary[name], value, "{name}");
    }

    let answers = count(&measured, "answers");
    assert!((1..=sent).contains(&answers), "{measured}");
    assert!(count(&measured, "latencies") <= sent, "{measured}");
    let seconds = measured["seconds"].as_f64().unwrap();
    let rate = measured["notify_per_second"].as_f64().unwrap();
    assert!(seconds > 0.0);
    assert!((rate - answers as f64 / seconds).abs() < 1.0, "{measured}");
    let latency = &measured["latency_us"];
    let micros = ["p50", "p90", "p99", "p999", "max"].map(|key| latency[key].as_f64().unwrap());
    assert!(micros[0] > 0.0 && micros.is_sorted(), "{latency}");
    if cfg!(target_os = "linux") {
        for who in ["agent", "spop"] {
            let cpu = &measured["cpu"][who]["us_per_notify"];
            assert!(cpu.as_f64().unwrap() >= 0.0, "{who}: {cpu}");
        }
    }
}

#[tokio::test]
async fn a_fixed_rate() {
    let addr = agent::listen(score).await;
    for jitter in [&[][..], &["--jitter", "--seed", "7"]] {
        let begin = Instant::now();
        let args = ["--rate", "1000", "--connections", "3", "--window", "1"];
        let args = [&args[..], jitter, &BRIEF, &PATIENT].concat();
        let run = bench(addr, &args).await;
        let elapsed = begin.elapsed().as_secs_f64();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let summary = run.json();
        adds_up(&summary);
        assert_eq!(summary["rate"], 1000);
        assert_eq!(count(&summary, "missing"), 0);
        // An agent that is slow does not slow the arrivals down, and nothing else speeds
        // them up. The run lasts 220 ms at least; its jitter is random, but always the same.
        let due = count(&summary, "sent") + count(&summary, "unsent");
        let least = if jitter.is_empty() { 220 } else { 180 };
        let most = 1.2 * 1000.0 * elapsed + 3.0;
        assert!(due >= least && (due as f64) < most, "{due} in {elapsed} s");
    }
}

#[tokio::test]
async fn what_is_asked() {
    static ASKED: Mutex<Vec<(String, String, usize, IpAddr)>> = Mutex::new(Vec::new());
    let addr = agent::listen(|notify| {
        let message = notify.messages().next().unwrap();
        let names: Vec<String> = message.args().map(|arg| arg.name.to_string()).collect();
        let payload = message.arg("payload").and_then(|value| value.to_text());
        ASKED.lock().unwrap().push((
            message.name().to_string(),
            names.join(" "),
            payload.map_or(0, |text| text.as_bytes().len()),
            message.arg("client").unwrap().to_ip().unwrap(),
        ));
        score(notify)
    });
    let args = [
        "--message",
        "check-it",
        "--arg",
        "a=1",
        "--arg",
        ":null",
        "--payload",
        "2048",
        "--random-ip",
        "client=5",
        "--rate",
        "1000",
        "--window",
        "10000",
    ];
    let run = bench(addr.await, &[&args[..], &BRIEF, &PATIENT].concat()).await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let asked = ASKED.lock().unwrap();
    assert!(asked.len() >= 220, "{}", asked.len());
    let mut addresses = Vec::new();
    for (message, names, payload, address) in asked.iter() {
        assert_eq!(
            (message.as_str(), names.as_str()),
            ("check-it", "a  payload client")
        );
        assert_eq!(*payload, 2048);
        addresses.push(*address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let five: Vec<IpAddr> = (0..5).map(|host| [10, 0, 0, host].into()).collect();
    assert_eq!(addresses, five);
}

#[tokio::test]
async fn what_is_asked_by_default() {
    let addr = agent::listen(|notify| {
        let message = notify.messages().next().unwrap();
        let ip = message.arg("ip_src").and_then(|ip| ip.to_ip());
        if message.name() == "check-rate" && ip == Some([192, 0, 2, 7].into()) {
            score(notify)
        } else {
            Actions::new()
        }
    });
    let addr = addr.await;
    let run = bench(addr, &[&BRIEF[..], &PATIENT].concat()).await;
    assert_eq!(count(&run.json(), "without_actions"), 0);

    let other = ["--message", "other", "--duration", "50ms", "--warmup", "0s"];
    let run = bench(addr, &[&other[..], &PATIENT].concat()).await;
    assert_eq!(run.code, Some(0), "no action is no fault");
    let note = "does the agent know the message `other`?";
    assert!(run.stdout.contains(note), "{}", run.stdout);
}

#[cfg(unix)]
#[tokio::test]
async fn the_summary_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(agent::serve(io, AgentConfig::new(), score));
        }
    });
    let addr = format!("unix:{}", path.display());
    let args = [
        "--duration",
        "500ms",
        "--warmup",
        "10ms",
        "--connections",
        "2",
    ];
    let run = bench(&addr, &[&args[..], &PATIENT].concat()).await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let first = format!("{addr}: 2 connections, 16 in flight each, closed loop");
    assert_eq!(lines[0], first);
    for (line, start) in lines[1..]
        .iter()
        .zip(["throughput", "latency", "CPU", "in all"])
    {
        assert!(line.trim_start().starts_with(start), "{line}");
    }
    let counts = lines.iter().find(|line| line.contains("in all")).unwrap();
    assert!(
        counts.ends_with(" answered, 0 late, 0 missing; 0 unexpected"),
        "{counts}"
    );
}

#[tokio::test]
async fn a_notify_that_is_too_big() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let config = AgentConfig::new().with_max_frame_size(256);
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(agent::serve(io, config.clone(), score));
        }
    });
    let run = bench(addr, &["--payload", "1000"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(
        run.verdict().ends_with(", 256 were agreed on"),
        "{}",
        run.stderr
    );
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_the_run_with_its_summary() {
    let addr = agent::listen(score).await.to_string();
    let run = tokio::task::spawn_blocking(move || {
        let mut spop = Command::new(env!("CARGO_BIN_EXE_spop"))
            .args([
                "bench",
                &addr,
                "--json",
                "--warmup",
                "10ms",
                "--duration",
                "60m",
            ])
            .args(PATIENT)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut progress = String::new();
        let mut stderr = BufReader::new(spop.stderr.take().unwrap());
        stderr.read_line(&mut progress).unwrap();
        assert!(progress.contains(" NOTIFY/s, 0 faults"), "{progress}");
        let kill = format!("kill -INT {}", spop.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let mut stdout = String::new();
        spop.stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        stderr.read_to_string(&mut progress).unwrap();
        Run {
            code: spop.wait().unwrap().code(),
            stdout,
            stderr: progress,
        }
    });
    let run = run.await.unwrap();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let summary = run.json();
    adds_up(&summary);
    assert_eq!(summary["interrupted"], true);
    assert!(count(&summary["measured"], "answers") > 0, "{summary}");
    assert_eq!(count(&summary, "missing"), 0);
}
