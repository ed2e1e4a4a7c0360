//! The command as an operator meets it: settings, the lines at the start, health, reload, the
//! end. HAProxy's part is played by `spop-client`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use spop_client::Client;
use spop_client::spop_codec::{Action, Scope, TypedData};
use spop_testkit::agent::{self, Agent};
use spop_testkit::process::Signal;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_spoa-ip-reputation");

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent with one list, of score 100.
struct Site {
    agent: Agent,
    dir: TempDir,
}

impl Site {
    async fn start(list: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("block.txt"), list).unwrap();
        let setup = agent::Setup::new(BINARY)
            .set("SPOA_IP_LISTS", format!("100={}", path(&dir, "block.txt")));
        let setup = settings
            .iter()
            .fold(setup, |setup, (name, value)| setup.set(name, value));
        let agent = setup.start().await.unwrap();
        Self { agent, dir }
    }

    /// Puts another list in the place of the one before, as a whole.
    fn replace(&self, list: &str) {
        fs::write(self.dir.path().join("new"), list).unwrap();
        fs::rename(
            self.dir.path().join("new"),
            self.dir.path().join("block.txt"),
        )
        .unwrap();
    }

    async fn line(&self, text: &str) -> String {
        self.agent.process().line(text, PATIENCE).await.unwrap()
    }

    async fn until_score(&self, address: &str, score: i64) {
        let mut client = Client::connect(self.agent.addr()).await.unwrap();
        let found = async {
            while scores(&mut client, ip(address)).await != both(score) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let found = timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("{:#?}", self.agent.log()));
    }
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

fn ip(text: &str) -> TypedData<'_> {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(v4) => TypedData::Ipv4(v4),
        std::net::IpAddr::V6(v6) => TypedData::Ipv6(v6),
    }
}

/// The scores that an answer sets, by scope.
async fn scores(
    client: &mut Client<tokio::net::TcpStream>,
    ip_src: TypedData<'_>,
) -> Vec<(Scope, i64)> {
    let ack = client
        .notify("check-ip", [("ip_src", ip_src)])
        .await
        .unwrap();
    let score = |action: Action<'_>| match action {
        Action::SetVar { scope, name, value } => {
            assert_eq!(name, "ip_score");
            (scope, value.to_i64().unwrap())
        }
        other => panic!("{other:?}"),
    };
    ack.actions().map(score).collect()
}

fn both(score: i64) -> Vec<(Scope, i64)> {
    vec![(Scope::Session, score), (Scope::Transaction, score)]
}

/// A run that ends by itself.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    agent::without_settings(&mut command).args(arguments);
    command.env("SPOA_ADMIN_ADDR", "off");
    command.envs(settings.iter().copied()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_the_score_of_its_list_and_others_0() {
    let site = Site::start("192.0.2.0/24\n2001:db8::/32\n", &[]).await;
    let mut client = Client::connect(site.agent.addr()).await.unwrap();
    for (ip_src, score) in [
        (ip("192.0.2.7"), 100),
        (ip("198.51.100.7"), 0),
        (ip("2001:db8::7"), 100),
        (ip("::ffff:192.0.2.7"), 100),
        (" 192.0.2.7".into(), 100),
    ] {
        assert_eq!(scores(&mut client, ip_src).await, both(score), "{ip_src:?}");
    }
    for nothing in [TypedData::Null, "unknown".into(), 7.into(), "".into()] {
        assert_eq!(scores(&mut client, nothing).await, [], "{nothing:?}");
    }
    let ack = client.notify("check-ip", []).await.unwrap();
    assert_eq!(ack.actions().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_what_is_in_force() {
    let settings = [("TOKIO_WORKER_THREADS", "3"), ("RUST_LOG", "info")];
    let site = Site::start("192.0.2.0/24\n192.0.2.1\n", &settings).await;
    site.line("score 100").await;
    let log = site.agent.log();
    assert_eq!(
        log[0],
        format!("spoe agent listening on {}", site.agent.addr())
    );
    assert_eq!(log[1], "  TOKIO_WORKER_THREADS  3");
    assert_eq!(log[2], "  RUST_LOG              info");
    assert!(log[3].starts_with("lists in force:"), "{log:#?}");
    let list = format!(
        "  score 100         2 networks  {}",
        path(&site.dir, "block.txt")
    );
    assert_eq!(log[4], list);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_variable_is_told() {
    let setup = agent::Setup::new(BINARY).set("SPOA_IP_LIST", "100=b.txt");
    let agent = setup.set("SPOE_AGENT_PORT", "1").start().await.unwrap();
    let line = agent.process().line("SPOA_IP_LIST", PATIENCE);
    let line = line.await.unwrap();
    let end = "SPOA_IP_LIST is set but is no setting of spoa-ip-reputation; see spoa-ip-reputation \
               --help";
    assert!(line.ends_with(end), "{line}");
    // What Kubernetes sets, and what is a setting, is none.
    agent
        .process()
        .line("lists in force", PATIENCE)
        .await
        .unwrap();
    let log = agent.log();
    let told = log.iter().filter(|line| line.contains("is no setting"));
    assert_eq!(told.count(), 1, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_json_every_line_is_an_object() {
    let site = Site::start("192.0.2.1\n", &[("SPOA_LOG_FORMAT", "json")]).await;
    site.replace("nonsense\n");
    site.line("lists stay as they were").await;
    site.replace("192.0.2.2\n");
    site.agent
        .process()
        .ready(PATIENCE, async || site.agent.log().len() >= 3)
        .await
        .unwrap();
    let messages: Vec<String> = site
        .agent
        .log()
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["timestamp"].is_string() && line["level"].is_string());
            line["message"].as_str().unwrap().to_owned()
        })
        .collect();
    let start = format!("spoe agent listening on {}\n", site.agent.addr());
    assert!(messages[0].starts_with(&start), "{messages:#?}");
    assert!(messages[0].contains("\nlists in force:\n"), "{messages:#?}");
    assert!(
        messages[2].starts_with("lists in force:\n"),
        "{messages:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lists_every_score_is_0() {
    for settings in [[].as_slice(), &[("SPOA_IP_LISTS", ""), ("RUST_LOG", "")]] {
        let setup = agent::Setup::new(BINARY);
        let setup = settings
            .iter()
            .fold(setup, |setup, (name, value)| setup.set(name, value));
        let agent = setup.start().await.unwrap();
        let none = agent.process().line("lists in force: none", PATIENCE);
        none.await.unwrap();
        let mut client = Client::connect(agent.addr()).await.unwrap();
        assert_eq!(scores(&mut client, ip("192.0.2.7")).await, both(0));
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let bad = path(&dir, "bad.txt");
    fs::write(&bad, "10.0.0.0/8\nnonsense\n").unwrap();
    let bad_list = format!("100={bad}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (name, value, expected) in [
        (
            "SPOA_IP_LISTS",
            &*bad_list,
            &*format!("spoa-ip-reputation: {bad}:2: \"nonsense\""),
        ),
        (
            "SPOA_IP_LISTS",
            "100=/no/such/file",
            "spoa-ip-reputation: /no/such/file: cannot be read: ",
        ),
        (
            "SPOA_IP_LISTS",
            "101=/dev/null",
            "<SPOA_IP_LISTS>': \"101=/dev/null\" is not SCORE=FILE",
        ),
        ("SPOE_ADDR", "nowhere", "<SPOE_ADDR>': no port"),
        (
            "SPOE_ADDR",
            &*taken,
            &*format!("SPOE_ADDR={taken:?}: {taken} is in use"),
        ),
        (
            "SPOA_ADMIN_ADDR",
            &*taken,
            &*format!("SPOA_ADMIN_ADDR={taken:?}: cannot listen: "),
        ),
        (
            "SPOA_LAME_DUCK",
            "600001",
            "<SPOA_LAME_DUCK>': 600001 is not in 0..=600000",
        ),
        (
            "TOKIO_WORKER_THREADS",
            "0",
            "<TOKIO_WORKER_THREADS>': 0 is not in 1..=1024",
        ),
        (
            "TOKIO_WORKER_THREADS",
            "many",
            "<TOKIO_WORKER_THREADS>': invalid digit",
        ),
        ("RUST_LOG", "a=b=c", "<RUST_LOG>': "),
        (
            "RUST_LOG",
            "warning",
            "<RUST_LOG>': \"warning\" is neither off, error, warn, info, debug, trace nor ",
        ),
        ("SPOE_ADDR", "", "<SPOE_ADDR>': no port"),
        ("SPOA_ADMIN_ADDR", "", "<SPOA_ADMIN_ADDR>': no port"),
        (
            "SPOA_LAME_DUCK",
            "",
            "<SPOA_LAME_DUCK>': cannot parse integer from empty",
        ),
        (
            "SPOA_LOG_FORMAT",
            "",
            "<SPOA_LOG_FORMAT>': neither text nor json",
        ),
    ] {
        let settings = [("SPOE_ADDR", "127.0.0.1:0"), (name, value)];
        let output = run(&[], &settings);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{expected} is not in {said}");
        assert!(said.starts_with("spoa-ip-reputation: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(output.stdout, b"", "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_list_is_in_force_and_a_bad_one_is_not() {
    let site = Site::start("192.0.2.1\n", &[("RUST_LOG", "info")]).await;
    let block = site.dir.path().join("block.txt");
    site.until_score("192.0.2.1", 100).await;

    // Written in place.
    fs::write(&block, "192.0.2.2\n").unwrap();
    site.until_score("192.0.2.2", 100).await;
    site.until_score("192.0.2.1", 0).await;

    // Replaced, by what cannot be used.
    site.replace("192.0.2.3\nnonsense\n");
    let said = site.line("lists stay as they were").await;
    assert!(said.contains("block.txt:2: \"nonsense\""), "{said}");
    site.until_score("192.0.2.2", 100).await;

    fs::remove_file(&block).unwrap();
    site.line("cannot be read").await;
    site.until_score("192.0.2.2", 100).await;

    site.replace("192.0.2.4\n");
    site.until_score("192.0.2.4", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let at = |name: &str| root.join(name);
    for (version, list) in [("v1", "192.0.2.1"), ("v2", "192.0.2.2")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("block.txt"), list).unwrap();
    }
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, at(to)).unwrap();
    link("v1", "..data");
    link("..data/block.txt", "block.txt");
    let lists = format!("100={}", path(&dir, "block.txt"));
    let setup = agent::Setup::new(BINARY).set("SPOA_IP_LISTS", lists);
    let agent = setup.start().await.unwrap();
    let site = Site { agent, dir };
    site.until_score("192.0.2.1", 100).await;
    link("v2", "..new");
    fs::rename(at("..new"), at("..data")).unwrap();
    site.until_score("192.0.2.2", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_lists_even_if_nothing_changed() {
    let site = Site::start("192.0.2.1\n", &[]).await;
    site.line("score 100").await;
    site.agent.signal(Signal::HUP).unwrap();
    let read_twice = async || {
        let log = site.agent.log();
        log.iter()
            .filter(|line| line.starts_with("lists in force:"))
            .count()
            == 2
    };
    site.agent
        .process()
        .ready(PATIENCE, read_twice)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_lists_were_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let systemd = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 4096];
        let length = systemd.recv(&mut message).unwrap();
        let message = str::from_utf8(&message[..length]).unwrap();
        message.lines().next().unwrap().to_owned()
    };
    let settings = [("NOTIFY_SOCKET", &*path(&dir, "notify"))];
    let site = Site::start("192.0.2.1\n", &settings).await;
    assert_eq!(told(), "READY=1");
    for list in ["192.0.2.2\n", "nonsense\n"] {
        site.replace(list);
        site.agent.signal(Signal::HUP).unwrap();
        assert_eq!([told(), told()], ["RELOADING=1", "READY=1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_shown() {
    let settings = [
        ("SPOA_ADMIN_ADDR", "127.0.0.1:0"),
        ("SPOA_LAME_DUCK", "600000"),
    ];
    let site = Site::start("192.0.2.0/24\n192.0.2.1\n", &settings).await;
    let line = site.line("metrics at http://").await;
    let admin = line.strip_prefix("metrics at http://").unwrap();
    let admin: SocketAddr = admin.strip_suffix("/metrics").unwrap().parse().unwrap();
    let mut client = Client::connect(site.agent.addr()).await.unwrap();
    for address in ["192.0.2.7", "192.0.2.7", "198.51.100.7"] {
        scores(&mut client, ip(address)).await;
    }
    let metrics = get(admin, "/metrics");
    for sample in [
        "build_info{version=\"0.1.0\"} 1",
        &*format!(
            "networks{{file=\"{}\",score=\"100\"}} 2",
            path(&site.dir, "block.txt")
        ),
        "answers_total{score=\"100\"} 2",
        "answers_total{score=\"0\"} 1",
        "lists_stale 0",
        "list_failures_total 0",
        "spop_notifies_total 3",
        "spop_connections 1",
    ] {
        let line = format!("spoa_ip_reputation_{sample}");
        assert!(
            metrics.lines().any(|own| own == line),
            "no {line} in:\n{metrics}"
        );
    }
    assert!(
        metrics
            .lines()
            .any(|own| own.starts_with("process_start_time_seconds 1")),
        "{metrics}"
    );
    assert!(!metrics.contains("192.0.2."));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"));

    site.replace("nonsense\n");
    site.line("lists stay as they were").await;
    let counted = get(admin, "/metrics");
    assert!(counted.contains("list_failures_total 1\n"), "{counted}");
    assert!(counted.contains("lists_stale 1\n"), "{counted}");

    site.agent.signal(Signal::TERM).unwrap();
    let stopping = async || get(admin, "/readyz").starts_with("HTTP/1.1 503");
    site.agent
        .process()
        .ready(PATIENCE, stopping)
        .await
        .unwrap();
    assert!(get(admin, "/livez").starts_with("HTTP/1.1 200"));
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::start("", &[]).await;
        let mut client = Client::connect(site.agent.addr()).await.unwrap();
        assert_eq!(scores(&mut client, ip("192.0.2.7")).await, both(0));
        site.agent.signal(signal).unwrap();
        assert!(client.recv().await.is_err(), "AGENT-DISCONNECT");
        drop(client);
        let ended = site.agent.process().wait(PATIENCE).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_an_agent_that_stops() {
    let site = Site::start("", &[("SPOA_LAME_DUCK", "600000")]).await;
    let addr = site.agent.addr().to_string();
    let asked = run(&["healthcheck"], &[("SPOE_ADDR", &addr)]);
    let said = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{said}");
    assert!(said.starts_with(&format!("{addr} is healthy: ")), "{said}");
    let everywhere = addr.replace("127.0.0.1", "0.0.0.0");
    assert!(
        run(&["healthcheck", "--spoe-addr", &everywhere], &[])
            .status
            .success()
    );

    site.agent.signal(Signal::TERM).unwrap();
    let unhealthy = async || {
        let asked = run(&["healthcheck"], &[("SPOE_ADDR", &addr)]);
        let said = String::from_utf8(asked.stderr).unwrap();
        asked.status.code() == Some(1) && said.contains(" is not healthy: ")
    };
    site.agent
        .process()
        .ready(PATIENCE, unhealthy)
        .await
        .unwrap();
    // While it goes on answering.
    let mut client = Client::connect(site.agent.addr()).await.unwrap();
    assert_eq!(scores(&mut client, ip("192.0.2.7")).await, both(0));

    let nowhere = spop_testkit::port::free_addr().unwrap().to_string();
    let asked = run(&["healthcheck"], &[("SPOE_ADDR", &nowhere)]);
    assert_eq!(asked.status.code(), Some(1));
}

/// Of a supervisor that does not listen.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_counts_even_if_nothing_can_be_said() {
    let site = Site::start("", &[]).await;
    let healthy = site.agent.addr().to_string();
    let nowhere = spop_testkit::port::free_addr().unwrap().to_string();
    for (addr, code) in [(&*healthy, 0), (&*nowhere, 1), ("nonsense", 2)] {
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(BINARY);
        agent::without_settings(&mut command).arg("healthcheck");
        let command = command.env("SPOE_ADDR", addr).stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(code), "{addr}");
    }
}

/// Of a pipe that is full, since whoever collects the log has stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let (reader, mut writer) = io::pipe().unwrap();
    let [output, errors] = [(); 2].map(|()| writer.try_clone().unwrap());
    // Until the reader is gone.
    let full = thread::spawn(move || while writer.write_all(&[b'\n'; 4096]).is_ok() {});
    let addr = spop_testkit::port::free_addr().unwrap();
    let mut command = Command::new(BINARY);
    agent::without_settings(&mut command).stdout(output);
    command
        .stderr(errors)
        .env("SPOE_ADDR", addr.to_string())
        .env("SPOA_ADMIN_ADDR", "off");
    let mut agent = command.spawn().unwrap();
    let answered = timeout(PATIENCE, async {
        let mut client = loop {
            match Client::connect(addr).await {
                Ok(client) => break client,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        };
        scores(&mut client, ip("192.0.2.7")).await
    });
    let answered = answered.await;
    let asked = Command::new("sh")
        .args(["-c", &format!("kill {}", agent.id())])
        .status();
    let ended = timeout(PATIENCE, async {
        while agent.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let ended = ended.await;
    if ended.is_err() {
        agent.kill().unwrap();
    }
    let status = agent.wait().unwrap();
    drop(reader);
    full.join().unwrap();
    assert_eq!(answered.unwrap(), both(0));
    assert!(asked.unwrap().success() && status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix@{}", path(&dir, "agent.sock"));
    let agent = agent::Setup::new(BINARY).set("SPOE_ADDR", &socket);
    let _agent = agent.start().await.unwrap();
    let asked = run(&["healthcheck"], &[("SPOE_ADDR", &socket)]);
    assert!(asked.status.success(), "{asked:?}");
}

#[test]
fn the_readme_has_every_setting_and_its_default() {
    let help = String::from_utf8(run(&["--help"], &[]).stdout).unwrap();
    let readme = include_str!("../README.md");
    let mut settings = 0;
    // `[env: NAME=]`, and `[default: VALUE]` below it.
    let mut lines = help.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let Some((_, after)) = line.split_once("[env: ") else {
            continue;
        };
        let (name, _) = after.split_once('=').unwrap();
        let row = format!("| `{name}` | ");
        let row = readme.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("no row for {name} in the README"));
        let default = lines
            .peek()
            .and_then(|line| line.strip_prefix("[default: "));
        if let Some(default) = default.and_then(|rest| rest.strip_suffix(']')) {
            // That one is the machine's.
            let default = match name {
                "TOKIO_WORKER_THREADS" => "one per CPU".to_owned(),
                _ => format!("`{default}`"),
            };
            assert!(
                row.contains(&format!(" | {default} | ")),
                "{default}: {row}"
            );
        }
        settings += 1;
    }
    assert!(settings >= 6, "{help}");
}
