//! Socket activation, in a child process that is started the way systemd does: listening
//! sockets as descriptors 3 and up, and LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::env;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use spop_client::{Client, Connection, DEFAULT_TIMEOUT, haproxy_hello};
use spop_server::{BoundListener, Endpoint, ListenError, claim_inherited, inherited, serve};
use support::{obedient, only};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Set in the child: these tests, started anew, are the agent then.
const CHILD: &str = "SPOP_TEST_CHILD";

/// Becomes the agent, with its standard input and output as descriptors 3 and 4, under the
/// shell's own process id.
const ACTIVATE: &str = r#"
exec 3<&0 4<&1 0</dev/null 1>/dev/null
export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=first:second
exec "$@"
"#;

/// Starts one of the tests as an agent with these two sockets.
fn activate(test: &str, first: OwnedFd, second: OwnedFd) -> Child {
    Command::new("/bin/sh")
        .args(["-c", ACTIVATE, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A TCP and a Unix socket that listen, and where.
fn listen(dir: &Path) -> (OwnedFd, SocketAddr, OwnedFd, std::path::PathBuf) {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = dir.join("agent.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    (tcp.into(), address, unix.into(), path)
}

/// Both answer. The connections wait in the kernel until the agent is up.
async fn both_answer(address: SocketAddr, path: &Path) {
    let mut tcp = Client::connect(address).await.unwrap();
    let ack = tcp.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    let unix = Connection::connect_unix(path, Some(DEFAULT_TIMEOUT)).await;
    let mut unix = Client::over(unix.unwrap(), haproxy_hello()).await.unwrap();
    let ack = unix.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
}

async fn serve_all(listeners: Vec<BoundListener>) {
    let mut listeners = listeners.into_iter();
    let mut server = serve(listeners.next().unwrap(), obedient());
    for listener in listeners {
        server = server.and(listener);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn all_sockets_that_were_passed_are_served() {
    if env::var_os(CHILD).is_some() {
        claim_inherited();
        for gone in ["LISTEN_PID", "LISTEN_FDS"] {
            assert!(env::var_os(gone).is_none(), "{gone}");
        }
        let listeners = inherited().unwrap();
        assert!(inherited().unwrap().is_empty());
        return serve_all(listeners).await;
    }
    assert!(inherited().unwrap().is_empty(), "nothing was passed to us");
    let dir = tempfile::tempdir().unwrap();
    let (tcp, address, unix, path) = listen(dir.path());
    let agent = activate("all_sockets_that_were_passed_are_served", tcp, unix);
    both_answer(address, &path).await;
    drop(agent);
}

#[tokio::test]
async fn they_are_found_by_number_and_by_name() {
    let bind = async |text: &str| text.parse::<Endpoint>().unwrap().bind().await;
    if env::var_os(CHILD).is_some() {
        for missing in ["fd@9", "fd@2", "fd@third"] {
            eprintln!("refused: {}", bind(missing).await.unwrap_err());
        }
        let second = bind("fd@second").await.unwrap();
        let first = bind("fd@3").await.unwrap();
        eprintln!("refused: {}", bind("fd@first").await.unwrap_err());
        eprintln!("listening: {}, {}", first.endpoint(), second.endpoint());
        return serve_all(vec![first, second]).await;
    }
    let refused = bind("fd@3").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "fd@3 was not passed to this process, or is taken already: it was started with 0 \
         (LISTEN_FDS, LISTEN_FDNAMES)"
    );
    let dir = tempfile::tempdir().unwrap();
    let (tcp, address, unix, path) = listen(dir.path());
    let mut agent = activate("they_are_found_by_number_and_by_name", tcp, unix);
    both_answer(address, &path).await;
    let said = BufReader::new(agent.stderr.take().unwrap()).lines();
    let said = lines_until(said, "listening: ").await;
    let refusals: Vec<_> = said
        .iter()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(refusals.len(), 4, "{said:?}");
    assert!(refusals[3].contains("fd@first was not passed"), "{said:?}");
    let expected = format!("listening: {address}, unix@{}", path.display());
    assert_eq!(said.last(), Some(&expected));
}

#[tokio::test]
async fn a_connection_is_not_taken_for_a_listener() {
    if env::var_os(CHILD).is_some() {
        let refused = inherited().unwrap_err();
        assert!(matches!(refused, ListenError::NotListening(3)));
        eprintln!("refused: {refused}");
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (connection, _) = listener.accept().unwrap();
    let mut agent = activate(
        "a_connection_is_not_taken_for_a_listener",
        connection.into(),
        listener.into(),
    );
    let said = BufReader::new(agent.stderr.take().unwrap()).lines();
    let said = lines_until(said, "refused: ").await;
    assert_eq!(
        said.last().unwrap(),
        "refused: fd@3 is not a listening stream socket: the systemd socket unit needs \
         ListenStream= and Accept=no"
    );
    assert!(agent.wait().await.unwrap().success());
    drop(peer);
}

/// What the child says, up to a line that begins so.
async fn lines_until(
    mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    beginning: &str,
) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push(line);
        if said.last().unwrap().starts_with(beginning) {
            return said;
        }
    }
    panic!("it ended: {said:?}");
}
