//! Health, wrong questions, and listeners that are not there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use spop_testkit::agent::{self, without_settings};
use spop_testkit::process::{Process, Signal};
use spop_testkit::tools::Program;
use spop_testkit::valkey::Server;
use tokio::time::{Instant, sleep};

use crate::exposition::Exposition;
use crate::{PATIENCE, Watched, policies, request};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_there_is_is_answered() {
    let watched = Watched::start(&[]).await;
    for (path, status) in [
        ("/metrics", 200),
        ("/metrics?name=x", 200),
        ("/config", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/policies", 200),
        ("/", 200),
        ("/metrics/", 404),
        ("/favicon.ico", 404),
    ] {
        let answer = watched.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let head = request(watched.admin, "HEAD", path);
        assert_eq!((head.status, &*head.body), (status, ""), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = request(watched.admin, method, path);
            assert_eq!(refused.status, 405, "{method} {path}: {refused:?}");
            assert!(refused.head.contains("allow: get, head"), "{refused:?}");
        }
    }
    let format = "content-type: text/plain; version=0.0.4";
    assert!(watched.get("/metrics").head.contains(format));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_is_not_ready_but_alive() {
    let watched = Watched::start(&[("SPOA_LAME_DUCK", "600000")]).await;
    assert_eq!(watched.get("/readyz").status, 200);
    watched.agent.signal(Signal::TERM).unwrap();
    let since = Instant::now();
    while watched.get("/readyz").status != 503 {
        assert!(since.elapsed() < PATIENCE, "{:#?}", watched.agent.log());
    }
    assert_eq!(watched.get("/livez").status, 200);
    assert_eq!(watched.get("/metrics").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_would_deny_everybody_waits_for_valkey_once() {
    let valkey = Server::start().await.unwrap();
    valkey.kill();
    let url = valkey.url();
    let nodes = ("VALKEY_NODES", &*url);
    let other = Watched::start(&[nodes]).await;
    assert_eq!(other.get("/readyz").status, 200);

    let closed = Watched::start(&[nodes, ("SPOA_FAILURE", "closed")]).await;
    assert_eq!(closed.get("/readyz").status, 503);
    assert_eq!(closed.get("/livez").status, 200);
    // HAProxy goes on asking it: with nobody to ask it would let pass what this denies.
    spop_client::ping(closed.agent.addr()).await.unwrap();
    valkey.restart().await.unwrap();
    let since = Instant::now();
    while closed.get("/readyz").status != 200 {
        assert!(since.elapsed() < PATIENCE, "{:#?}", closed.agent.log());
        sleep(Duration::from_millis(5)).await;
    }
    valkey.kill();
    let lost = |metrics: &Exposition| {
        let state = format!(
            "valkey_breaker_state{{node=\"127.0.0.1:{}\",state=\"closed\"}}",
            valkey.port()
        );
        metrics.find(&state) == Some(0.0)
    };
    closed.until("Valkey is lost", lost).await;
    assert_eq!(closed.get("/readyz").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_is_shown_without_secrets() {
    let path = policies("[policy.first]\nunlimited = true\n");
    let watched = Watched::start(&[
        ("SPOA_CONFIG", path.to_str().unwrap()),
        ("VALKEY_NODES", "valkey://ann:hunter2@127.0.0.1:1"),
    ])
    .await;
    let page = watched.get("/config").body;
    assert!(
        page.contains("  environment   valkey://127.0.0.1:1\n"),
        "{page}"
    );
    assert!(page.contains("\n  first "), "{page}");
    assert!(!page.contains("hunter2"), "{page}");

    fs::write(&path, "[policy.second]\nunlimited = true\n").unwrap();
    watched.agent.signal(Signal::HUP).unwrap();
    let process = watched.agent.process();
    process.line("policies read again", PATIENCE).await.unwrap();
    let page = watched.get("/config").body;
    let document = watched.get("/policies");
    let json = "content-type: application/json";
    assert!(document.head.contains(json), "{}", document.head);
    let second = "{\"name\":\"second\",\"messages\":[],\"limits\":[],";
    assert!(document.body.contains(second), "{}", document.body);
    assert!(page.contains("\n  second "), "{page}");
    assert!(!page.contains("\n  first "), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_sent_away_and_keeps_nobody_out() {
    let watched = Watched::start(&[]).await;
    // More than there is room for, each with half a request.
    let mut silent: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(watched.admin).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(watched.get("/livez").status, 200);
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // Closed, if need be with a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
    let mut long = TcpStream::connect(watched.admin).unwrap();
    let _ = long.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)).as_bytes());
    let mut answer = Vec::new();
    let _ = long.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    assert_eq!(watched.get("/livez").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn off_is_off() {
    let setup = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra")).set("SPOA_ADMIN_ADDR", "off");
    let agent = setup.start().await.unwrap();
    // The last line of what it says at the start.
    agent.process().line("  default ", PATIENCE).await.unwrap();
    let log = agent.log().join("\n");
    assert!(log.contains("SPOA_ADMIN_ADDR       off"), "{log}");
    assert!(!log.contains("metrics"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_that_is_in_use_is_no_reason_not_to_serve() {
    // Somebody else may have it already, which is as well.
    let _taken = TcpListener::bind("127.0.0.1:9001");
    let program = Program::at(env!("CARGO_BIN_EXE_spoa-gcra"));
    let second = Process::spawn("second", &program, |command| {
        without_settings(command);
        command.env("NO_COLOR", "1");
        command.env("SPOE_ADDR", "127.0.0.1:0");
    });
    let second = second.unwrap();
    second.line("listening on", PATIENCE).await.unwrap();
    let warning = second.line("going on without metrics", PATIENCE).await;
    let warning = warning.unwrap();
    for part in ["WARN", "127.0.0.1:9001", "in use", "SPOA_ADMIN_ADDR"] {
        assert!(warning.contains(part), "{warning}");
    }
}
