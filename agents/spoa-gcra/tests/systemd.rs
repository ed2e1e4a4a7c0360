//! The agent as systemd runs it: what it tells systemd, and sockets that systemd opened for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spop_client::ping;
use spop_testkit::agent::{Agent, Setup};
use spop_testkit::process::Signal;
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_spoa-gcra");

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of NOTIFY_SOCKET that is systemd's.
struct Systemd {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, dir }
    }

    fn setup(&self) -> Setup {
        let socket = self.dir.path().join("notify");
        Setup::new(AGENT).set("NOTIFY_SOCKET", socket.display())
    }

    /// The lines of the next message.
    fn told(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        let message = std::str::from_utf8(&message[..length]).unwrap();
        message.lines().map(String::from).collect()
    }
}

fn status(agent: &Agent, more: &str) -> String {
    format!("STATUS=listening on {}{more}", agent.addr())
}

#[tokio::test]
async fn it_says_when_it_serves_and_when_it_stops() {
    let systemd = Systemd::new();
    let setup = systemd.setup().set("SPOA_LAME_DUCK", 20);
    let agent = setup.start().await.unwrap();
    assert_eq!(systemd.told(), ["READY=1", &status(&agent, "")]);
    ping(agent.addr()).await.unwrap();

    agent.signal(Signal::TERM).unwrap();
    let told = systemd.told();
    // The lame duck, 5 s for what is in flight, and as much again.
    assert_eq!(told[..2], ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10020000"]);
    assert!(told[2].starts_with("STATUS=stopping: "), "{told:?}");
    assert!(agent.process().wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn it_says_what_came_of_a_reload() {
    let systemd = Systemd::new();
    let policies = systemd.dir.path().join("policies.toml");
    fs::write(&policies, "[policy.default]\nrate = '1/s'\nburst = 1\n").unwrap();
    let setup = systemd.setup().set("SPOA_CONFIG", policies.display());
    let agent = setup.start().await.unwrap();
    assert_eq!(systemd.told()[0], "READY=1");

    let reloading = || {
        agent.signal(Signal::HUP).unwrap();
        let told = systemd.told();
        assert_eq!(told[0], "RELOADING=1");
        let micros = told[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
    };
    reloading();
    let status_line = status(&agent, "; policies read again: nothing changed");
    assert_eq!(systemd.told(), ["READY=1", &status_line]);

    fs::write(&policies, "nonsense").unwrap();
    reloading();
    let told = systemd.told();
    assert_eq!(told[0], "READY=1");
    let begin = status(&agent, "; policies stay as they were: ");
    assert!(told[1].starts_with(&begin), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn nobody_to_tell_is_no_reason_not_to_serve() {
    let setup = Setup::new(AGENT).set("NOTIFY_SOCKET", "/nowhere/notify");
    let agent = setup.start().await.unwrap();
    ping(agent.addr()).await.unwrap();
    let warning = agent.process().line("cannot tell systemd", PATIENCE).await;
    assert!(warning.unwrap().contains("WARN"));
}

/// Ended when dropped.
struct Activated(Child);

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn activated(command: &mut Command) -> Activated {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["SPOE_", "SPOA_", "VALKEY_"]
            .iter()
            .any(|own| text.starts_with(own))
        {
            command.env_remove(&name);
        }
    }
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    Activated(command.spawn().unwrap())
}

/// A socket that listens already, as descriptor 3 and under the shell's own process id.
const ACTIVATE: &str = r#"
exec 3<&0 0</dev/null
export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=spop
exec "$@"
"#;

#[tokio::test]
async fn it_serves_a_socket_that_was_passed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // It waits in the kernel until the agent is there.
    let early = tokio::spawn(ping(addr));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ACTIVATE, "sh", AGENT]);
    command.envs([("SPOE_ADDR", "fd@spop"), ("SPOA_ADMIN_ADDR", "off")]);
    let agent = activated(command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener))));
    early.await.unwrap().unwrap();
    ping(addr).await.unwrap();
    drop(agent);
}
